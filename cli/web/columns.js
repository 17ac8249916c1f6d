// What stands in the columns of the two lists.

import { clean, clock, el, put, size, utf8 } from "./dom.js";
import { compact, members, unquoted } from "./json.js";
import { kind } from "./rows.js";

export const LEVELS = ["loss", "plan", "advice", "doubt"];
export const WORDS = { loss: "discarded", plan: "plan", advice: "advice", doubt: "doubtful" };
export const FAULTS = { error: "500", limit: "429", drop: "dropped", slow: "slow", offline: "offline" };

/** A column of text. */
function column(title, classes, text, right = false) {
  const side = right ? " right" : "";
  return {
    head: () => el("span", { class: `${classes}${side}` }, title),
    cell: () => el("span", { class: `cell ${classes}${side}` }),
    fill: (cell, row) => put(cell, clean(text(row))),
  };
}

/** A column whose text has a badge. */
function badges(title, of) {
  return {
    head: () => el("span", {}, title),
    cell: () => el("span", { class: "cell" }, el("span", { class: "badge" })),
    fill: (cell, row) => {
      const [level, text] = of(row);
      cell.firstChild.className = `badge ${level}`;
      put(cell.firstChild, text);
    },
  };
}

/** How bad an event is. */
export const eventLevel = (event) => LEVELS.find((level) => event.flaws.some((flaw) => flaw.level === level)) ?? "";

/** The worst level of an event's flaws, and a word for it with their number. */
function worst(event) {
  const { flaws } = event;
  const level = eventLevel(event);
  if (level === "") return ["", ""];
  return [level, flaws.length > 1 ? `${WORDS[level]} +${flaws.length - 1}` : WORDS[level]];
}

/** A string as its text, everything else as JSON. */
const shown = (value) => (value.startsWith('"') ? unquoted(value) : compact(value));

/** The beginning of the properties or traits. */
function excerpt(event) {
  if (event.excerpt === undefined) {
    const found = members(event.json);
    const payload = found.get("properties") ?? found.get("traits") ?? "";
    const entries = payload.startsWith("{") ? members(payload) : [];
    const parts = Array.from(entries, ([name, value]) => `${name}: ${shown(value)}`);
    event.excerpt = parts.join(", ").slice(0, 300);
  }
  return event.excerpt;
}

/** The type of an event, as it was sent if it is none of the six. */
export const typeName = (event) => event.call ?? event.type ?? "?";

const user = column("User", "user", (event) => event.user ?? event.anonymous ?? "");

export const EVENT_COLUMNS = [
  column("Time", "time", (event) => clock(event.at)),
  {
    head: () => el("span", {}, "Type"),
    cell: () => el("span", { class: "cell type" }, ""),
    fill: (cell, event) => {
      cell.dataset.call = kind(event);
      put(cell, clean(typeName(event)));
    },
  },
  column("Name", "name", (event) => event.name ?? ""),
  {
    ...user,
    fill: (cell, event) => {
      cell.classList.toggle("anonymous", event.user === null);
      user.fill(cell, event);
    },
  },
  column("Properties or traits", "excerpt", excerpt),
  badges("Problems", worst),
  column("Size", "size", (event) => size(utf8(event.json)), true),
];

/** What became of a request, in a word. */
export function outcome(request) {
  const fault = request.fault === null ? "" : FAULTS[request.fault] ?? request.fault;
  if (request.status === null) return ["loss", fault || "cut"];
  if (request.fault === "slow") return ["advice", `${request.status} ${fault}`];
  if (request.status >= 500) return ["loss", String(request.status)];
  if (request.status >= 400) return ["advice", String(request.status)];
  if (request.flaws.some((flaw) => flaw.level === "loss")) return ["loss", `${request.status} lost`];
  return ["good", String(request.status)];
}

export const header = (request, name) => request.headers.find(([found]) => found === name)?.[1] ?? "";

function sizes(request) {
  if (request.bytes === request.unpacked) return size(request.bytes);
  return `${size(request.bytes)} ← ${size(request.unpacked)}`;
}

/** How bad a request went. */
export function requestLevel(request) {
  const [level] = outcome(request);
  return level === "good" ? "" : level;
}

export const REQUEST_COLUMNS = [
  column("Time", "time", (request) => clock(request.at)),
  badges("Status", outcome),
  column("Method", "mono", (request) => request.method),
  column("Path", "path", (request) => request.path),
  column("Events", "count", (request) => String(request.events), true),
  column("Retry", "count", (request) => request.retry ?? "", true),
  column("Size ← unpacked", "size", sizes, true),
  column("User agent", "agent", (request) => header(request, "user-agent")),
];
