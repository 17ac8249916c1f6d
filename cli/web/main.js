// The page: what arrives goes into the rows, the rows that pass go into the list, the one that is picked into the
// details.

import { Chart } from "./chart.js";
import { EVENT_COLUMNS, REQUEST_COLUMNS, eventLevel, requestLevel } from "./columns.js";
import { Detail, copy } from "./detail.js";
import { $, count, el, many, put, size, toast } from "./dom.js";
import { Faults } from "./faults.js";
import { Filter } from "./filter.js";
import { compact } from "./json.js";
import { listen } from "./keys.js";
import { Rows, View } from "./rows.js";
import { Stream } from "./stream.js";
import { Table } from "./table.js";

/** So many milliseconds of a frame go into filtering. */
const BUDGET = 8;
const THEMES = ["system", "light", "dark"];

class App {
  tab = "events";
  isPaused = false;
  isDirty = false;
  seeks = false;
  rows = new Rows();
  views = { events: new View(this.rows, "events"), requests: new View(this.rows, "requests") };
  chart = new Chart();

  constructor() {
    this.stream = new Stream({
      state: (state) => this.state(state),
      hello: (hello, isNew) => this.hello(hello, isNew),
      rows: (first, rows) => this.take(first, rows),
      fault: (fault) => this.faults.show(fault),
      trouble: (trouble) => trouble && toast(`Events are no longer stored: ${trouble}`),
    });
    this.faults = new Faults(this.stream);
    this.filter = new Filter(() => this.refilter());
    this.table = new Table((row) => this.pick(row));
    this.detail = new Detail(this);
    for (const name of ["events", "requests"]) $(`tab-${name}`).addEventListener("click", () => this.useTab(name));
    const buttons = { pause: "pause", clear: "clear", export: "export", theme: "theme" };
    for (const [id, does] of Object.entries(buttons)) $(id).addEventListener("click", () => this[does]());
    $("help-button").addEventListener("click", () => $("help").showModal());
    $("splitter").addEventListener("dblclick", () => this.close());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.useTheme(this.themeName));
    this.useTheme(localStorage.getItem("theme") ?? "system");
    this.useTab("events");
    listen(this);
    $("viewport").focus();
    this.stream.connect();
  }

  get view() {
    return this.views[this.tab];
  }

  state(state) {
    $("state").dataset.state = state;
    put($("state"), { live: "live", lost: "no connection, trying again" }[state]);
  }

  hello(hello, isNew) {
    if (isNew) {
      if (this.rows.events.length > 0) toast("The collector was started anew");
      this.forgetAll();
    }
    this.chart.ahead = hello.now - Date.now();
    const about = [location.host, `keeps ${count(hello.keep)} events${hello.store ? ` and ${hello.store}` : ""}`];
    if (hello.plan) about.push(`plan ${hello.plan}`);
    put($("about"), about.join("  ·  "));
    this.draw();
  }

  take(first, rows) {
    const last = this.rows.events.at(-1)?.n ?? 0;
    if (first > last && rows.length === 0) this.forgetAll(); // it was cleared, here or on another page
    this.rows.add(rows);
    this.rows.dropBefore(first);
    this.chart.add(rows);
    this.filter.suggest(rows.map((row) => row.name));
    this.draw();
  }

  forgetAll() {
    this.rows.clear();
    this.chart.clear();
    for (const view of Object.values(this.views)) view.restart();
    if (this.isPaused) this.pause();
    this.show(null);
    this.table.follows = true;
  }

  /** Draws before the next frame, once however often it is asked for. */
  draw() {
    if (this.isDirty) return;
    this.isDirty = true;
    // In a page that is not seen there are no frames.
    if (document.hidden) setTimeout(() => this.drawNow(), 200);
    else requestAnimationFrame(() => this.drawNow());
  }

  drawNow() {
    this.isDirty = false;
    const { view, table, rows } = this;
    const isDone = view.advance(BUDGET);
    table.show(view.items, view.gone);
    view.gone = 0;
    const { sums } = rows;
    put($("count-events"), count(rows.events.length));
    put($("count-requests"), count(rows.requests.length));
    const counts = { events: rows.events.length, requests: rows.requests.length, ...sums };
    for (const name of ["events", "requests", "loss", "flawed", "retries", "failed"]) {
      put($(`sum-${name}`), count(counts[name]));
      $(`sum-${name}`).parentElement.classList.toggle("some", counts[name] > 0);
      $(`sum-${name}`).parentElement.classList.toggle("none", counts[name] === 0);
    }
    put($("sum-bytes"), size(sums.bytes));
    this.filter.show(sums);
    this.status(isDone);
    this.empty(isDone);
    if (!isDone) return this.draw();
    if (this.seeks) table.mark(table.picked); // among other rows it stands elsewhere
    this.seeks = false;
  }

  status(isDone) {
    const { view, rows, tab } = this;
    const noun = tab === "events" ? "event" : "request";
    const all = rows[tab].length;
    const parts = [this.filter.isOn ? `${count(view.items.length)} of ${many(all, noun)}` : many(all, noun)];
    if (!isDone) parts.push("filtering …");
    if (this.isPaused) parts.push(`paused, ${count(view.waiting)} new`);
    put($("status"), parts.join("  ·  "));
    put($("pause"), this.isPaused ? (view.waiting > 0 ? `Resume · ${count(view.waiting)} new` : "Resume") : "Pause");
  }

  empty(isDone) {
    const box = $("empty");
    const isEmpty = this.view.items.length === 0 && isDone;
    box.hidden = !isEmpty;
    const why = !isEmpty ? "" : this.rows[this.tab].length > 0 ? "filtered" : this.tab;
    if (box.dataset.why === why) return;
    box.dataset.why = why;
    if (why === "filtered") {
      box.replaceChildren(el("h2", {}, "Nothing passes the filters"), "Press x to reset them.");
    } else if (why !== "") {
      const advice = "Give your app this address as the endpoint, or try:";
      box.replaceChildren(el("h2", {}, `Waiting for ${why}`), advice, el("br"), el("code", {}, EXAMPLE));
    }
  }

  refilter() {
    this.views.events.filter(this.filter.forEvents());
    this.views.requests.filter(this.filter.forRequests());
    this.table.follows = this.table.picked === null;
    this.seeks = !this.table.follows;
    this.draw();
  }

  pick(row) {
    if (!row) return;
    const tab = row.kind === "event" ? "events" : "requests";
    if (tab !== this.tab) this.useTab(tab);
    if (this.table.find(row) < 0 && !this.view.passes(row)) this.filter.reset();
    let isDone = false;
    while (this.table.find(row) < 0 && !isDone) {
      isDone = this.view.advance(50);
      this.table.show(this.view.items, this.view.gone);
      this.view.gone = 0;
    }
    this.show(row);
  }

  show(row) {
    this.detail.show(row); // first: the list gets narrower by it
    this.table.mark(row);
  }

  open() {
    if (this.table.picked) this.show(this.table.picked);
    else this.table.move(1);
  }

  close() {
    if (this.detail.shown) this.show(null);
    else if (this.filter.isOn) this.filter.reset();
    $("viewport").focus();
  }

  newest() {
    this.table.toEnd();
    if (this.table.picked) this.pick(this.table.items.at(-1));
  }

  useTab(tab) {
    this.tab = tab;
    document.body.dataset.tab = tab;
    for (const name of ["events", "requests"]) $(`tab-${name}`).setAttribute("aria-selected", String(name === tab));
    this.detail.show(null);
    this.table.picked = null;
    if (tab === "events") this.table.use(EVENT_COLUMNS, eventLevel);
    else this.table.use(REQUEST_COLUMNS, requestLevel);
    this.table.follows = true;
    this.view.advance(BUDGET);
    this.table.show(this.view.items, 0);
    this.view.gone = 0;
    this.draw();
  }

  pause() {
    this.isPaused = !this.isPaused;
    $("pause").setAttribute("aria-pressed", String(this.isPaused));
    for (const view of Object.values(this.views)) view.until = this.isPaused ? this.stream.after : Infinity;
    this.draw();
  }

  async clear() {
    if (!(await this.stream.send("/-/clear"))) toast("The collector was not reached: nothing is cleared");
  }

  copy() {
    const row = this.table.picked;
    if (row?.kind === "event") copy(compact(row.json), "JSON");
  }

  /** What is listed, a line each. */
  export() {
    while (!this.view.advance(50)); // what is not filtered yet belongs to it
    const text = this.tab === "events" ? (event) => compact(event.json) : (request) => JSON.stringify(request);
    const lines = this.view.items.map((row) => `${text(row)}\n`);
    const url = URL.createObjectURL(new Blob(lines, { type: "application/jsonl" }));
    const time = new Date().toISOString().slice(0, 19).replace(/[-:]/g, "").replace("T", "-");
    el("a", { href: url, download: `${this.tab}-${time}.jsonl` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
    toast(`Exported ${many(this.view.items.length, this.tab === "events" ? "event" : "request")}`);
  }

  theme() {
    this.useTheme(THEMES[(THEMES.indexOf(this.themeName) + 1) % THEMES.length]);
    toast({ system: "Light or dark as the system has it", light: "Light", dark: "Dark" }[this.themeName]);
  }

  useTheme(name) {
    this.themeName = THEMES.includes(name) ? name : "system";
    localStorage.setItem("theme", this.themeName);
    const systemIsDark = matchMedia("(prefers-color-scheme: dark)").matches;
    const isDark = this.themeName === "dark" || (this.themeName === "system" && systemIsDark);
    document.documentElement.dataset.theme = isDark ? "dark" : "light";
    this.chart.draw();
  }
}

const EXAMPLE = `curl -u WRITE_KEY: ${location.origin}/v1/track \\
  -d '{"userId":"u-42","event":"Hello","properties":{"plan":"pro"}}'`;

new App();
