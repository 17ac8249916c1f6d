// A list of any length: only the rows that are seen are elements.

import { $ } from "./dom.js";

export const ROW = 26;
const SPARE = 8;

export class Table {
  items = [];
  picked = null;
  follows = true;
  pool = [];

  /** `pick` is called with a row that is picked by hand. */
  constructor(pick) {
    this.pick = pick;
    this.viewport = $("viewport");
    this.sizer = $("sizer");
    this.viewport.addEventListener("scroll", () => {
      this.follows = this.isAtEnd();
      this.render();
    }, { passive: true });
    this.sizer.addEventListener("click", (event) => {
      const row = event.target.closest(".row");
      if (row) pick(this.items[row.index]);
    });
    new ResizeObserver(() => {
      if (this.follows) this.toEnd();
      this.render();
    }).observe(this.viewport);
    $("follow").addEventListener("click", () => this.toEnd());
  }

  /** Shows rows in these columns, which fill the cells; `level` says how bad a row is. */
  use(columns, level) {
    this.level = level;
    this.columns = columns;
    for (const row of this.pool) row.remove();
    this.pool = [];
    $("list-head").replaceChildren(...columns.map((column) => column.head()));
  }

  /** Shows these rows; `gone` of those shown before are no longer there, at the beginning. */
  show(items, gone) {
    this.items = items;
    const height = `${items.length * ROW}px`;
    if (this.sizer.style.height !== height) this.sizer.style.height = height;
    if (this.follows) this.viewport.scrollTop = items.length * ROW;
    else if (gone > 0) this.viewport.scrollTop -= gone * ROW;
    this.render();
  }

  isAtEnd() {
    return this.viewport.scrollTop + this.viewport.clientHeight >= this.items.length * ROW - ROW / 2;
  }

  toEnd() {
    this.follows = true;
    this.viewport.scrollTop = this.items.length * ROW;
    this.render();
  }

  render() {
    const height = this.viewport.clientHeight;
    const first = Math.max(0, Math.floor(this.viewport.scrollTop / ROW) - SPARE);
    const last = Math.min(this.items.length, first + Math.ceil(height / ROW) + 2 * SPARE);
    const places = Math.ceil(height / ROW) + 2 * SPARE;
    while (this.pool.length < places) this.pool.push(this.makeRow());
    for (const row of this.pool) row.wanted = false;
    for (let index = first; index < last; index += 1) this.fill(this.pool[index % this.pool.length], index);
    for (const row of this.pool) {
      if (!row.wanted && !row.hidden) row.hidden = true;
    }
    $("follow").hidden = this.follows || this.items.length === 0;
  }

  makeRow() {
    const row = document.createElement("div");
    row.className = "row";
    row.setAttribute("role", "option");
    row.cells = this.columns.map((column) => {
      const cell = column.cell();
      row.append(cell);
      return cell;
    });
    this.sizer.append(row);
    return row;
  }

  fill(row, index) {
    const item = this.items[index];
    row.wanted = true;
    row.hidden = false;
    if (row.index !== index) {
      row.index = index;
      row.style.transform = `translateY(${index * ROW}px)`;
    }
    if (row.item !== item) {
      row.item = item;
      row.id = `row-${item.n}`;
      this.columns.forEach((column, at) => column.fill(row.cells[at], item));
      row.className = `row ${this.level(item)}`;
    }
    const isPicked = item === this.picked;
    row.classList.toggle("picked", isPicked);
    row.setAttribute("aria-selected", String(isPicked));
    row.setAttribute("aria-posinset", String(index + 1));
    row.setAttribute("aria-setsize", String(this.items.length));
  }

  /** Marks a row as picked, and brings it into sight. */
  mark(item) {
    this.picked = item;
    const index = item === null ? -1 : this.find(item);
    if (index >= 0) {
      const { viewport } = this;
      const top = index * ROW;
      const height = viewport.clientHeight;
      if (top < viewport.scrollTop) viewport.scrollTop = top;
      else if (top + ROW > viewport.scrollTop + height) viewport.scrollTop = top + ROW - height;
      viewport.setAttribute("aria-activedescendant", `row-${item.n}`);
      this.follows = this.isAtEnd();
    } else {
      this.viewport.removeAttribute("aria-activedescendant");
    }
    this.render();
  }

  /** Where a row is listed; rows stand in the order of their numbers. */
  find(item) {
    let [low, high] = [0, this.items.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.items[middle].n < item.n) low = middle + 1;
      else high = middle;
    }
    return this.items[low] === item ? low : -1;
  }

  /** Picks the row so many places on. */
  move(by) {
    if (this.items.length === 0) return;
    const at = this.picked === null ? -1 : this.find(this.picked);
    const from = at >= 0 ? at : by > 0 ? Math.floor(this.viewport.scrollTop / ROW) - 1 : this.items.length;
    this.pick(this.items[Math.max(0, Math.min(this.items.length - 1, from + by))]);
  }

  get pageRows() {
    return Math.max(1, Math.floor(this.viewport.clientHeight / ROW) - 1);
  }
}
