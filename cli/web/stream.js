// What the collector tells, from where we stopped.

const MIN_WAIT = 250;
const MAX_WAIT = 2000;

export class Stream {
  journal = "";
  after = 0;
  wait = MIN_WAIT;

  /** `on` has the methods state, hello, rows, fault and trouble. */
  constructor(on) {
    this.on = on;
  }

  connect() {
    clearTimeout(this.again);
    this.source?.close();
    const source = new EventSource(`/-/stream?journal=${encodeURIComponent(this.journal)}&after=${this.after}`);
    this.source = source;
    const hear = (kind, hearing) => source.addEventListener(kind, (event) => hearing(JSON.parse(event.data)));
    hear("hello", (hello) => {
      const isNew = hello.journal !== this.journal || hello.after !== this.after;
      this.after = hello.after;
      this.journal = hello.journal;
      this.wait = MIN_WAIT;
      this.on.state("live");
      this.on.hello(hello, isNew);
    });
    hear("rows", ({ first, rows }) => {
      if (rows.length > 0) this.after = rows[rows.length - 1].n;
      this.on.rows(first, rows);
    });
    hear("fault", (fault) => this.on.fault(fault));
    hear("trouble", (trouble) => this.on.trouble(trouble));
    source.onerror = () => {
      // It would try again by itself, but from where it began, and not after every kind of error.
      source.close();
      this.on.state("lost");
      this.again = setTimeout(() => this.connect(), this.wait);
      this.wait = Math.min(this.wait * 2, MAX_WAIT);
    };
  }

  /** Tells the collector something. */
  async send(path, body = {}) {
    try {
      const answer = await fetch(path, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
      });
      return answer.ok;
    } catch {
      return false;
    }
  }
}
