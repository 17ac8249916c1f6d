// What arrived, in its order, and the part of it that is listed.

export const CALLS = ["identify", "track", "page", "screen", "group", "alias"];
export const KINDS = [...CALLS, "other"];
export const kind = (event) => event.call ?? "other";
export const isLoss = (row) => row.flaws.some((flaw) => flaw.level === "loss");
export const isFailed = (request) => request.status === null || request.status >= 400;

/** All rows that the collector keeps. */
export class Rows {
  events = [];
  requests = [];
  byNumber = new Map();
  dropped = { events: 0, requests: 0 };

  constructor() {
    this.clear();
  }

  clear() {
    this.dropped.events += this.events.length;
    this.dropped.requests += this.requests.length;
    this.events.length = 0;
    this.requests.length = 0;
    this.byNumber.clear();
    const kinds = Object.fromEntries(KINDS.map((k) => [k, 0]));
    this.sums = { loss: 0, flawed: 0, retries: 0, failed: 0, bytes: 0, kinds };
  }

  add(rows) {
    for (const row of rows) {
      (row.kind === "event" ? this.events : this.requests).push(row);
      this.byNumber.set(row.n, row);
      this.sum(row, 1);
    }
  }

  /** Forgets what is older than number `first`. */
  dropBefore(first) {
    for (const list of ["events", "requests"]) {
      const rows = this[list];
      let gone = 0;
      while (gone < rows.length && rows[gone].n < first) {
        this.byNumber.delete(rows[gone].n);
        this.sum(rows[gone], -1);
        gone += 1;
      }
      if (gone > 0) rows.splice(0, gone);
      this.dropped[list] += gone;
    }
  }

  sum(row, by) {
    const { sums } = this;
    if (row.kind === "event") {
      sums.kinds[kind(row)] += by;
      if (row.flaws.length > 0) sums.flawed += by;
      if (isLoss(row)) sums.loss += by;
    } else {
      sums.bytes += by * row.bytes;
      if (row.retry !== null) sums.retries += by;
      if (isFailed(row)) sums.failed += by;
    }
  }
}

/** The rows of one list that pass a filter. It is brought up to date in slices, so that nothing waits for it. */
export class View {
  items = [];
  /** How many items went from the beginning since someone asked. */
  gone = 0;
  seen = 0;
  passes = () => true;
  /** Rows after this number are not listed. */
  until = Infinity;

  constructor(rows, list) {
    this.rows = rows;
    this.list = list;
    this.seen = rows.dropped[list];
  }

  filter(passes) {
    this.passes = passes;
    this.restart();
  }

  restart() {
    this.items = [];
    this.gone = 0;
    this.seen = this.rows.dropped[this.list];
  }

  /** Looks at rows for so many milliseconds; whether all were seen. */
  advance(budget) {
    this.forget();
    const source = this.rows[this.list];
    const end = performance.now() + budget;
    let at = this.seen - this.rows.dropped[this.list];
    while (at < source.length && source[at].n <= this.until) {
      const stop = Math.min(source.length, at + 200);
      for (; at < stop && source[at].n <= this.until; at += 1) {
        if (this.passes(source[at])) this.items.push(source[at]);
      }
      if (performance.now() > end) break;
    }
    this.seen = at + this.rows.dropped[this.list];
    return at >= source.length || source[at].n > this.until;
  }

  /** How many rows arrived after those that are listed. */
  get waiting() {
    return this.rows.dropped[this.list] + this.rows[this.list].length - this.seen;
  }

  forget() {
    const dropped = this.rows.dropped[this.list];
    this.seen = Math.max(this.seen, dropped);
    const source = this.rows[this.list];
    const first = source.length > 0 ? source[0].n : Infinity;
    let gone = 0;
    while (gone < this.items.length && this.items[gone].n < first) gone += 1;
    if (gone > 0) this.items.splice(0, gone);
    this.gone += gone;
  }
}
