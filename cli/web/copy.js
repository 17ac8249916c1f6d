// An event as a call that sends it again.

import { members, tokens, unquoted } from "./json.js";

/** A C string literal. What is not ASCII stays as it is: sources are UTF-8. */
function c(text) {
  const escaped = text
    .replace(/["\\]/g, "\\$&")
    .replace(/\?(?=\?)/g, "?\\") // or it might begin a trigraph
    .replace(/\n/g, "\\n")
    .replace(/[\u0000-\u001f\u007f]/g, (control) => "\\" + control.charCodeAt(0).toString(8).padStart(3, "0"));
  return `"${escaped}"`;
}

/** A Python literal for a JSON text. */
function python(json) {
  const words = { true: "True", false: "False", null: "None" };
  let written = "";
  for (const token of tokens(json)) {
    if (token[0] === '"') written += JSON.stringify(unquoted(token));
    else if (token === ",") written += ", ";
    else if (token === ":") written += ": ";
    else written += words[token] ?? token;
  }
  return written;
}

const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** The text of a member that is a string; none otherwise. */
function text(found, name) {
  const value = found.get(name);
  return value?.startsWith('"') ? unquoted(value) : null;
}

const isObject = (value) => value !== undefined && value.startsWith("{") && value !== "{}";

export function asCurl(event, origin) {
  const path = event.call ? `/v1/${event.call}` : "/v1/batch";
  const body = event.call ? event.json : `{"batch":[${event.json}]}`;
  return `curl -u WRITE_KEY: ${origin}${path} \\\n  -H 'Content-Type: application/json' \\\n  -d ${shell(body)}\n`;
}

/** A call of Segment's own library for Python. */
export function asPython(event, origin) {
  const found = members(event.json);
  const names = {
    user_id: "userId", previous_id: "previousId", group_id: "groupId", anonymous_id: "anonymousId", event: "event",
    category: "category", name: "name", properties: "properties", traits: "traits", context: "context",
    integrations: "integrations",
  };
  const isGiven = (name) => found.has(name) && !["null", "{}"].includes(found.get(name));
  const given = Object.entries(names).filter(([, name]) => isGiven(name));
  const taken = given.filter(([argument]) => argument !== "anonymous_id" || event.call !== "alias");
  const rest = taken.map(([argument, name]) => `    ${argument}=${python(found.get(name))},\n`).join("");
  // Python reads "Z" since 3.11 only. What is no time would end the program instead of sending the event.
  const time = text(found, "timestamp")?.replace(/z$/i, "+00:00");
  const isTime = /^\d{4}-\d\d-\d\d(T\d\d:\d\d|$)/.test(time ?? "");
  const stamp = isTime ? `    timestamp=datetime.fromisoformat(${JSON.stringify(time)}),\n` : "";
  const call = event.call ?? "track";
  return `${isTime ? "from datetime import datetime\n\n" : ""}import segment.analytics as analytics

analytics.write_key = "WRITE_KEY"
analytics.host = ${JSON.stringify(origin)}
analytics.${call}(
${rest}${stamp})
analytics.flush()
`;
}

/** A call of libsegment. */
export function asC(event) {
  const found = members(event.json);
  const call = event.call ?? "track";
  const names = { identify: null, track: "event", page: "name", screen: "name", group: "groupId", alias: "previousId" };
  const name = names[call];
  const payloads = { alias: null, identify: "traits", group: "traits" };
  const payload = call in payloads ? payloads[call] : "properties";
  const string = (member) => (text(found, member) === null ? "NULL" : c(text(found, member)));
  const before = [];
  const after = [];
  const object = (variable, member) => {
    if (!isObject(found.get(member))) return "NULL";
    before.push(`segment_object *${variable} = segment_object_parse(${c(found.get(member))});`);
    after.push(`segment_object_free(${variable});`);
    return variable;
  };
  const settings = [];
  if (text(found, "anonymousId") !== null) settings.push(`.anonymous_id = ${string("anonymousId")}`);
  if (text(found, "timestamp") !== null) settings.push(`.timestamp = ${string("timestamp")}`);
  if (text(found, "category") !== null) settings.push(`.category = ${string("category")}`);
  const data = payload === null ? [] : [object(payload, payload)];
  if (isObject(found.get("context"))) settings.push(`.context = ${object("context", "context")}`);
  if (isObject(found.get("integrations"))) settings.push(`.integrations = ${object("integrations", "integrations")}`);
  let options = "NULL";
  if (settings.length > 0) {
    before.push(`segment_options options = {.size = sizeof options, ${settings.join(", ")}};`);
    options = "&options";
  }
  const leading = ["client", string("userId"), ...(name ? [string(name)] : [])];
  return [...before, `segment_${call}(${[...leading, ...data, options].join(", ")});`, ...after].join("\n") + "\n";
}
