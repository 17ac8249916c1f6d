// Which rows are listed: the controls, and what they mean.

import { $, about, el, put } from "./dom.js";
import { KINDS, isFailed, isLoss, kind } from "./rows.js";

const FIELDS = ["search", "filter-name", "filter-user", "problems", "outcomes"];

const PROBLEMS = {
  any: (event) => event.flaws.length > 0,
  loss: isLoss,
  plan: (event) => event.flaws.some((flaw) => flaw.level === "plan"),
  doubt: (event) => event.flaws.some((flaw) => flaw.level === "doubt"),
};

const OUTCOMES = {
  failed: isFailed,
  retry: (request) => request.retry !== null,
  fault: (request) => request.fault !== null,
};

/** A test for a part of a text, in any case. */
export function part(text) {
  if (text === "") return null;
  const pattern = new RegExp(text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "iu");
  return (whole) => whole !== null && pattern.test(whole);
}

export class Filter {
  types = new Set();

  /** `changed` is called when other rows pass. */
  constructor(changed) {
    this.changed = () => {
      $("reset").hidden = !this.isOn;
      changed();
    };
    this.chips = KINDS.map((name) => {
      const number = el("b", {}, "0");
      const onclick = () => this.toggle(name);
      const chip = el("button", { "aria-pressed": "false", data: { call: name }, onclick }, name, number);
      $("types").append(chip);
      return { name, chip, number };
    });
    let waiting;
    for (const id of FIELDS) {
      $(id).addEventListener("input", () => {
        clearTimeout(waiting);
        waiting = setTimeout(this.changed, $(id).tagName === "SELECT" ? 0 : 80);
      });
    }
    $("reset").addEventListener("click", () => this.reset());
  }

  get isOn() {
    return this.types.size > 0 || FIELDS.some((id) => $(id).value !== "");
  }

  /** What is searched for in the text. */
  get text() {
    return $("search").value;
  }

  toggle(name) {
    if (!this.types.delete(name)) this.types.add(name);
    for (const { name, chip } of this.chips) chip.setAttribute("aria-pressed", String(this.types.has(name)));
    this.changed();
  }

  set(id, value) {
    $(id).value = value;
    this.changed();
  }

  reset() {
    for (const id of FIELDS) $(id).value = "";
    this.types.clear();
    for (const { chip } of this.chips) chip.setAttribute("aria-pressed", "false");
    this.changed();
  }

  /** The test for events, as the controls stand now. */
  forEvents() {
    const types = new Set(this.types);
    const problem = PROBLEMS[$("problems").value];
    const [name, user, text] = ["filter-name", "filter-user", "search"].map((id) => part($(id).value.trim()));
    return (event) =>
      (types.size === 0 || types.has(kind(event))) &&
      (!problem || problem(event)) &&
      (!name || name(event.name)) &&
      (!user || user(event.user) || user(event.anonymous)) &&
      (!text || text(event.json));
  }

  forRequests() {
    const outcome = OUTCOMES[$("outcomes").value];
    const text = part(this.text.trim());
    const whole = (request) =>
      [request.method, request.path, request.status ?? "", request.fault ?? "", ...request.headers.flat()].join(" ");
    return (request) => (!outcome || outcome(request)) && (!text || text(whole(request)));
  }

  /** Shows how many there are of each type. */
  show(sums) {
    for (const { name, chip, number } of this.chips) {
      put(number, sums.kinds[name] > 0 ? about(sums.kinds[name]) : "");
      chip.hidden = name === "other" && sums.kinds.other === 0 && !this.types.has("other");
    }
  }

  /** Names to choose from. */
  suggest(names) {
    const list = $("names");
    const known = new Set(Array.from(list.children, (option) => option.value));
    for (const name of names) {
      if (known.size >= 200) return;
      if (name && name.length <= 80 && !known.has(name)) {
        known.add(name);
        list.append(el("option", { value: name }));
      }
    }
  }
}
