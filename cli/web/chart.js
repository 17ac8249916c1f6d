// Events per second in the last two minutes, a bar a second, by type.

import { $, count, many, put } from "./dom.js";
import { KINDS, kind } from "./rows.js";

const SECONDS = 120;
const BOTTOM = 4;
const TOP = 20;

export class Chart {
  buckets = new Map();
  /** How far the collector's clock is ahead of ours. */
  ahead = 0;
  pointed = null;

  constructor() {
    this.canvas = $("chart");
    new ResizeObserver(() => this.draw()).observe(this.canvas);
    this.canvas.addEventListener("mousemove", (event) => {
      this.pointed = event.offsetX / this.canvas.clientWidth;
      this.draw();
    });
    this.canvas.addEventListener("mouseleave", () => {
      this.pointed = null;
      this.draw();
    });
    setInterval(() => document.hidden || this.draw(), 1000);
  }

  get now() {
    return Math.floor((Date.now() + this.ahead) / 1000);
  }

  add(rows) {
    const oldest = this.now - SECONDS;
    for (const row of rows) {
      const second = Math.floor(row.at / 1000);
      if (row.kind !== "event" || second < oldest) continue;
      let bucket = this.buckets.get(second);
      if (!bucket) this.buckets.set(second, (bucket = { all: 0 }));
      const name = kind(row);
      bucket[name] = (bucket[name] ?? 0) + 1;
      bucket.all += 1;
    }
  }

  clear() {
    this.buckets.clear();
    this.draw();
  }

  /** Events in the second that ended last. */
  get rate() {
    return this.buckets.get(this.now - 1)?.all ?? 0;
  }

  draw() {
    const { canvas, now } = this;
    for (const second of this.buckets.keys()) if (second < now - SECONDS) this.buckets.delete(second);
    const [width, height] = [canvas.clientWidth, canvas.clientHeight];
    const dots = devicePixelRatio;
    if (canvas.width !== Math.round(width * dots)) canvas.width = Math.round(width * dots);
    if (canvas.height !== Math.round(height * dots)) canvas.height = Math.round(height * dots);
    const g = canvas.getContext("2d");
    g.setTransform(dots, 0, 0, dots, 0, 0);
    g.clearRect(0, 0, width, height);
    const style = getComputedStyle(document.documentElement);
    const color = (name) => style.getPropertyValue(`--${name}`);
    const most = Math.max(1, ...Array.from(this.buckets.values(), (bucket) => bucket.all));
    const step = width / SECONDS;
    const room = height - BOTTOM - TOP;
    g.fillStyle = color("line");
    g.fillRect(0, height - BOTTOM, width, 1);
    const pointed = this.pointed === null ? null : now - SECONDS + 1 + Math.floor(this.pointed * SECONDS);
    for (let at = 0; at < SECONDS; at += 1) {
      const second = now - SECONDS + 1 + at;
      const bucket = this.buckets.get(second);
      const [left, right] = [Math.round(at * step), Math.round((at + 1) * step)];
      if (second === pointed) {
        g.fillStyle = color("hover");
        g.fillRect(left, TOP, right - left, room);
      }
      let y = height - BOTTOM;
      for (const name of KINDS) {
        if (!bucket?.[name]) continue;
        const tall = Math.max(1, (bucket[name] / most) * room);
        g.fillStyle = color(name);
        g.fillRect(left, y - tall, Math.max(1, right - left - 1), tall);
        y -= tall;
      }
    }
    put($("chart-text"), this.caption(pointed, most));
    put($("sum-rate"), count(this.rate));
  }

  caption(pointed, most) {
    if (pointed !== null) {
      const bucket = this.buckets.get(pointed) ?? { all: 0 };
      const kinds = KINDS.filter((name) => bucket[name]).map((name) => `${count(bucket[name])} ${name}`);
      return `${new Date(pointed * 1000).toLocaleTimeString()}: ${kinds.join(", ") || many(0, "event")}`;
    }
    return this.buckets.size === 0
      ? "events per second, last 2 minutes"
      : `last 2 minutes, peak ${count(most)} per second`;
  }
}
