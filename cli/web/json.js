// JSON as it was sent: no number is read and written again, so none changes.

import { clean } from "./dom.js";

const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s"{}[\],:]+/gsy;
const SPACE = /\s*/y;
/** Lines are not indented further than this, or deep nesting would make megabytes of spaces. */
const MAX_INDENT = 32;

/** The parts of a JSON text without the white space between them. */
export function* tokens(json) {
  let at = 0;
  while (at < json.length) {
    SPACE.lastIndex = at;
    SPACE.test(json);
    TOKEN.lastIndex = SPACE.lastIndex;
    const found = TOKEN.exec(json);
    if (!found) return;
    at = TOKEN.lastIndex;
    yield found[0];
  }
}

/** The text without white space between its parts. */
export const compact = (json) => [...tokens(json)].join("");

/** The text that a string stands for. */
export function unquoted(token) {
  try {
    return JSON.parse(token);
  } catch {
    return token.slice(1, -1);
  }
}

/** The members of an object, each as the text it was sent as. Of a name that stands twice, the last counts. */
export function members(json) {
  const found = new Map();
  let [depth, name, value, isName] = [0, "", "", true];
  for (const token of tokens(json)) {
    if (depth === 1 && isName && token[0] === '"') {
      [name, value] = [unquoted(token), ""];
    } else if (depth === 1 && token === ":" && isName) {
      isName = false;
    } else if (depth === 1 && (token === "," || token === "}")) {
      if (!isName) found.set(name, value);
      isName = true;
    } else if (depth > 0) {
      value += token;
    }
    if (token === "{" || token === "[") depth += 1;
    if (token === "}" || token === "]") depth -= 1;
  }
  return found;
}

function flavour(token) {
  if (token[0] === '"') return "text";
  if (/^[-\d]/.test(token)) return "number";
  return "word";
}

/**
 * The text in lines. A line has parts, each with a flavour and a text, the path of the member it begins, and how far it
 * is indented; one that opens something knows by `end` which line closes it.
 */
export function lines(json) {
  const all = [];
  const open = []; // what we are in: { isList, path, index, line }
  let line;
  const begin = () => {
    line = { indent: Math.min(open.length, MAX_INDENT), parts: [], path: null };
    all.push(line);
  };
  const add = (type, text) => line.parts.push([type, clean(text)]);
  const list = [...tokens(json)];
  begin();
  let path = "";
  let expectsName = false;
  for (let at = 0; at < list.length; at += 1) {
    const token = list[at];
    const inside = open.at(-1);
    if (token === "{" || token === "[") {
      const isList = token === "[";
      const close = isList ? "]" : "}";
      if (line.path === null) line.path = path;
      if (list[at + 1] === close) {
        add("mark", token + close);
        at += 1;
      } else {
        add("mark", token);
        line.opens = close;
        open.push({ isList, path, index: 0, line: all.length - 1 });
        if (isList) path = `${path}[0]`;
        expectsName = !isList;
        begin();
        continue;
      }
    } else if (token === "}" || token === "]") {
      const closed = open.pop();
      if (!closed) break;
      begin();
      all[closed.line].end = all.length - 1;
      add("mark", token);
      path = closed.path;
    } else if (token === ",") {
      add("mark", ",");
      if (inside?.isList) {
        inside.index += 1;
        path = `${inside.path}[${inside.index}]`;
      }
      expectsName = inside !== undefined && !inside.isList;
      begin();
      continue;
    } else if (token === ":") {
      add("mark", ": ");
    } else if (expectsName) {
      const name = unquoted(token);
      path = inside.path === "" ? name : `${inside.path}.${name}`;
      line.path = path;
      add("key", token);
      expectsName = false;
    } else {
      if (line.path === null) line.path = path;
      add(flavour(token), token);
    }
  }
  return all;
}
