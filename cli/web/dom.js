// Elements and text. Everything that was sent to us becomes text nodes, never markup.

export const $ = (id) => document.getElementById(id);

/** An element with properties, data, listeners and children; a string is text. */
export function el(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") element.className = value;
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Sets text where it differs: the list does so thousands of times. */
export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// What controls a terminal or the direction of what follows is shown as JSON would write it.
const CONTROLS = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/g;
const escape = (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0");

/** Text that cannot disturb what stands beside it. */
export const clean = (text) => text.replace(CONTROLS, escape);

const two = (n) => String(n).padStart(2, "0");

/** The time of day here. */
export function clock(ms) {
  const t = new Date(ms);
  const thousandths = String(t.getMilliseconds()).padStart(3, "0");
  return `${two(t.getHours())}:${two(t.getMinutes())}:${two(t.getSeconds())}.${thousandths}`;
}

const numbers = new Intl.NumberFormat("en");
const short = new Intl.NumberFormat("en", { notation: "compact" });
export const about = (n) => short.format(n);
export const count = (n) => numbers.format(n);
export const many = (n, noun) => `${count(n)} ${noun}${n === 1 ? "" : "s"}`;

/** A number of bytes. */
export function size(bytes) {
  if (bytes < 1000) return `${bytes} B`;
  for (const unit of ["kB", "MB", "GB"]) {
    bytes /= 1000;
    if (bytes < 1000 || unit === "GB") return `${bytes.toFixed(bytes < 10 ? 1 : 0)} ${unit}`;
  }
}

const encoder = new TextEncoder();
export const utf8 = (text) => encoder.encode(text).length;

let hiding;
/** Says something in passing. */
export function toast(text) {
  const box = $("toast");
  box.textContent = text;
  box.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => { box.hidden = true; }, 2500);
}
