// The details of the row that is picked: what is wrong with it, the JSON, the request it came with.

import { $, clean, clock, count, el, many, size, toast, utf8 } from "./dom.js";
import { FAULTS, LEVELS, WORDS, header, outcome, typeName } from "./columns.js";
import { asC, asCurl, asPython } from "./copy.js";
import { compact, lines } from "./json.js";
import { kind } from "./rows.js";

/** An event with more lines than this is shown in part: a page is no editor. */
const MAX_LINES = 4000;
const MAX_INSIDE = 200;

/** What the terminal says before a sentence, and the page beside it. */
const PREFIX = /^(tracking plan|doubtful|Segment would discard this): /;

const worstFirst = (flaws) => [...flaws].sort((a, b) => LEVELS.indexOf(a.level) - LEVELS.indexOf(b.level));
const plain = (path) => path?.replace(/\[\d+\]/g, "") ?? null;

export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without HTTPS, another machine's page may not use the clipboard; the old way is open to it.
    const area = el("textarea", {});
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  toast(`Copied ${what}`);
}

/** A link to the page of Segment's documentation, named by the end of its address. */
function citation(source) {
  const place = source.split("/docs/segment/").pop().replace(/^connections\//, "");
  const link = el("a", { href: source, target: "_blank", rel: "noreferrer", title: source }, place);
  link.addEventListener("click", (event) => event.stopPropagation()); // the sentence around it jumps
  return el("small", {}, link);
}

export class Detail {
  /** `app` has rows, filter, pick(row) and close(). */
  constructor(app) {
    this.app = app;
    this.box = $("detail");
    this.shown = null;
    this.makeSplitter();
  }

  show(row) {
    if (row === this.shown) return;
    this.shown = row;
    this.box.hidden = $("splitter").hidden = row === null;
    if (row === null) return this.box.replaceChildren();
    this.box.replaceChildren(...(row.kind === "event" ? this.event(row) : this.request(row)));
    this.box.scrollTop = 0;
  }

  head(title, type, copies) {
    const buttons = copies.map(([name, text]) => el("button", { onclick: () => copy(text(), name) }, name));
    const onclick = () => this.app.close();
    return el(
      "header",
      {},
      type,
      el("h2", { title }, title),
      el("div", { class: "copies" }, el("span", {}, "Copy"), ...buttons),
      el("button", { class: "icon", "aria-label": "Close", title: "Close (Esc)", onclick }, "✕"),
    );
  }

  event(event) {
    const { app } = this;
    const request = app.rows.byNumber.get(event.request);
    const origin = location.origin;
    const type = el("span", { class: "type", data: { call: kind(event) } }, clean(typeName(event)));
    const head = this.head(clean(event.name ?? ""), type, [
      ["JSON", () => compact(event.json)],
      ["curl", () => asCurl(event, origin)],
      ["Python", () => asPython(event, origin)],
      ["C", () => asC(event)],
    ]);
    const facts = [["Received", `${clock(event.at)}   ${new Date(event.at).toISOString()}`, "mono"]];
    const filtering = (id, value) => {
      const onclick = () => app.filter.set(id, value);
      return el("button", { class: "link", title: "List only these", onclick }, clean(value));
    };
    if (event.name) facts.push(["Name", filtering("filter-name", event.name)]);
    if (event.user) facts.push(["User", filtering("filter-user", event.user)]);
    if (event.anonymous) facts.push(["Anonymous", filtering("filter-user", event.anonymous)]);
    facts.push(["Size", `${count(utf8(event.json))} bytes`]);
    if (request) {
      const retry = request.retry === null ? "" : `, retry ${clean(request.retry)}`;
      const held = `${many(request.events, "event")}, ${size(request.bytes)}${retry}`;
      const text = `${request.method} ${clean(request.path)} with ${held}`;
      facts.push(["Request", el("button", { class: "link", onclick: () => app.pick(request) }, text)]);
    }
    const json = this.json(event);
    const title = el("h3", {}, "JSON, as it was sent");
    return [head, this.facts(facts), this.flaws(event.flaws, json.jump), title, json.box];
  }

  request(request) {
    const { app } = this;
    const [level, text] = outcome(request);
    const head = this.head(clean(`${request.method} ${request.path}`), el("span", { class: `badge ${level}` }, text), [
      ["Headers", () => request.headers.map((pair) => pair.join(": ")).join("\n")],
    ]);
    const isLost = request.fault && request.fault !== "slow";
    const isPacked = request.bytes !== request.unpacked;
    const facts = [
      ["Received", `${clock(request.at)}   ${new Date(request.at).toISOString()}`, "mono"],
      ["Answer", request.status === null ? "none: the connection was cut" : String(request.status)],
      ["Events", `${count(request.events)}${isLost ? ", none taken" : ""}`],
      ["Size", `${count(request.bytes)} bytes${isPacked ? `, ${count(request.unpacked)} unpacked` : ""}`],
      ["Retry", request.retry === null ? "no, the first attempt" : clean(`${request.retry} (X-Retry-Count)`)],
      ["Sent by", clean(header(request, "user-agent") || "?")],
    ];
    if (request.fault) facts.push(["Fault switch", FAULTS[request.fault] ?? request.fault]);
    const cell = (text) => el("td", {}, clean(text));
    const cells = request.headers.map(([name, value]) => el("tr", {}, cell(name), cell(value)));
    const inside = [];
    for (let n = request.n + 1; n <= request.n + Math.min(request.events, MAX_INSIDE); n += 1) {
      const event = app.rows.byNumber.get(n);
      if (event?.request !== request.n) continue;
      const type = el("span", { class: "type", data: { call: kind(event) } }, clean(typeName(event)));
      const title = el("span", { class: "cell" }, clean(event.name ?? event.user ?? ""));
      inside.push(el("li", {}, el("button", { onclick: () => app.pick(event) }, type, title)));
    }
    if (inside.length > 0 && request.events > MAX_INSIDE) {
      inside.push(el("li", {}, `… and ${count(request.events - MAX_INSIDE)} more`));
    }
    return [
      head,
      this.facts(facts),
      request.flaws.length > 0 ? this.flaws(request.flaws, () => null) : null,
      el("h3", {}, "Headers"),
      el("table", { class: "headers" }, el("tbody", {}, ...cells)),
      inside.length > 0 ? el("h3", {}, "Events") : null,
      inside.length > 0 ? el("ul", { class: "inside" }, ...inside) : null,
    ].filter((part) => part !== null);
  }

  facts(facts) {
    const pairs = facts.map(([name, value, style]) => [el("dt", {}, name), el("dd", { class: style }, value)]);
    return el("dl", { class: "facts" }, ...pairs.flat());
  }

  flaws(flaws, jump) {
    if (flaws.length === 0) return el("div", { class: "good" }, "Segment takes this as it is");
    const items = worstFirst(flaws).map((flaw) => {
      const go = jump(flaw.member);
      const source = flaw.source === null ? null : citation(flaw.source);
      return el(
        "li",
        { class: `${flaw.level}${go ? " jumps" : ""}`, onclick: go ?? undefined },
        el("b", {}, WORDS[flaw.level]),
        el("span", {}, clean(flaw.text.replace(PREFIX, ""))),
        source,
      );
    });
    return el("ul", { class: "flaws", "aria-label": "Problems" }, ...items);
  }

  /** The JSON in lines, and a way to the line of a member. */
  json(event) {
    const all = lines(event.json);
    const shown = all.slice(0, MAX_LINES);
    const levels = new Map();
    for (const flaw of worstFirst(event.flaws)) {
      if (flaw.member !== null && !levels.has(flaw.member)) {
        levels.set(flaw.member, flaw.level === "advice" ? "flaw" : flaw.level);
      }
    }
    const levelOf = ({ path }) => (path === null ? undefined : (levels.get(path) ?? levels.get(plain(path))));
    const elements = shown.map((line, index) => {
      const parts = line.parts.map(([flavour, text]) => this.part(flavour, text));
      const onclick = (click) => this.fold(click.currentTarget, elements, line, index);
      const folds = line.opens && index > 0 && line.end < shown.length;
      const fold = folds ? el("button", { "aria-label": "Fold", tabindex: "-1", onclick }, "▾") : null;
      const code = el("code", {}, "  ".repeat(line.indent), ...parts);
      return el("div", { class: `line ${levelOf(line) ?? ""}` }, el("i", {}, String(index + 1)), fold, code);
    });
    const role = { role: "textbox", "aria-readonly": "true", "aria-label": "JSON" };
    const box = el("div", { class: "scroll" }, el("div", { class: "json", ...role }, ...elements));
    if (all.length > shown.length) {
      const more = `… and ${count(all.length - shown.length)} lines more: copy the JSON to see them`;
      box.append(el("p", { class: "facts" }, more));
    }
    const jump = (member) => {
      const at = member === null ? -1 : shown.findIndex((line) => line.path === member || plain(line.path) === member);
      if (at < 0) return null;
      return () => elements[at].scrollIntoView({ block: "center" });
    };
    return { box, jump };
  }

  /** A part of a line, with what is searched for marked. */
  part(flavour, text) {
    const wanted = this.app.filter.text.trim().toLowerCase();
    const at = wanted === "" ? -1 : text.toLowerCase().indexOf(wanted);
    if (at < 0) return el("span", { class: flavour }, text);
    const end = at + wanted.length;
    const found = el("span", { class: "found" }, text.slice(at, end));
    return el("span", { class: flavour }, text.slice(0, at), found, text.slice(end));
  }

  fold(button, elements, line, index) {
    const folds = button.textContent === "▾";
    button.textContent = folds ? "▸" : "▾";
    for (let at = index + 1; at <= line.end; at += 1) elements[at].hidden = folds;
    elements[index].querySelector(".folded")?.remove();
    if (folds) {
      elements[index].lastChild.append(el("span", { class: "folded" }, ` … ${line.opens}`));
      return;
    }
    // What was folded inside opens with it: one click shows all.
    for (let at = index + 1; at < line.end; at += 1) {
      elements[at].querySelector(".folded")?.remove();
      const inner = elements[at].querySelector("button");
      if (inner) inner.textContent = "▾";
    }
  }

  makeSplitter() {
    const splitter = $("splitter");
    const set = (width) => {
      const most = document.body.clientWidth * 0.75;
      this.box.style.setProperty("--detail-width", `${Math.max(300, Math.min(most, width))}px`);
    };
    splitter.addEventListener("pointerdown", (event) => {
      splitter.setPointerCapture(event.pointerId);
      splitter.onpointermove = (move) => set(document.body.clientWidth - move.clientX);
      event.preventDefault();
    });
    splitter.addEventListener("pointerup", () => { splitter.onpointermove = null; });
    splitter.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: 24, ArrowRight: -24 }[event.key];
      if (by === undefined) return;
      set(this.box.clientWidth + by);
      event.preventDefault();
      event.stopPropagation();
    });
  }
}
