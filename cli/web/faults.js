// The switches that make the collector behave as a server in trouble.

import { $, count, put, toast } from "./dom.js";

const SENTENCES = {
  error: "Every request is answered 500",
  limit: "Every request is answered 429",
  drop: "Every request is read, then its connection is cut",
  slow: "Every request is taken and answered late",
  offline: "Every connection is cut at once",
};
const SECONDS = { limit: "Retry-After", slow: "after" };

export class Faults {
  now = { kind: "none", seconds: 0, times: null, hits: 0 };

  constructor(stream) {
    this.stream = stream;
    $("faults").addEventListener("change", (event) => this.send(event.target.value));
    $("banner-stop").addEventListener("click", () => this.send("none"));
    for (const id of ["seconds", "times"]) $(id).addEventListener("change", () => this.send(this.now.kind));
  }

  async send(kind) {
    const times = Number.parseInt($("times").value, 10);
    const seconds = Number.parseInt($("seconds").value, 10);
    const fault = {
      kind,
      seconds: kind in SECONDS ? Math.max(0, Math.min(3600, seconds || 0)) : 0,
      times: kind !== "none" && times > 0 ? times : null,
    };
    if (!(await this.stream.send("/-/fault", fault))) {
      toast("The collector was not reached: nothing is switched");
      this.show(this.now);
    }
  }

  /** Shows what is switched on. */
  show(fault) {
    this.now = fault;
    document.querySelector(`#faults input[value="${fault.kind}"]`).checked = true;
    $("banner").hidden = fault.kind === "none";
    if (fault.kind === "none") {
      $("times").value = "";
      return;
    }
    const hits = fault.hits === 0 ? "" : ` · ${count(fault.hits)} so far`;
    put($("banner-text"), SENTENCES[fault.kind] + hits);
    const named = SECONDS[fault.kind];
    $("seconds-label").hidden = named === undefined;
    put($("seconds-name"), named ?? "");
    if (document.activeElement !== $("seconds") && named) $("seconds").value = fault.seconds;
    if (document.activeElement !== $("times")) $("times").value = fault.times ?? "";
  }
}
