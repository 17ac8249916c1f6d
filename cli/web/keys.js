// What the keys do.

import { $ } from "./dom.js";
import { KINDS } from "./rows.js";

export function listen(app) {
  const { table, filter } = app;
  const focus = (id) => {
    $(id).focus();
    $(id).select();
  };
  const keys = {
    j: () => table.move(1),
    ArrowDown: () => table.move(1),
    k: () => table.move(-1),
    ArrowUp: () => table.move(-1),
    PageDown: () => table.move(table.pageRows),
    PageUp: () => table.move(-table.pageRows),
    g: () => table.move(-Infinity),
    Home: () => table.move(-Infinity),
    G: () => app.newest(),
    End: () => app.newest(),
    Enter: () => app.open(),
    Escape: () => app.close(),
    "/": () => focus("search"),
    n: () => app.tab === "events" && focus("filter-name"),
    u: () => app.tab === "events" && focus("filter-user"),
    x: () => filter.reset(),
    r: () => app.useTab(app.tab === "events" ? "requests" : "events"),
    p: () => app.pause(),
    C: () => app.clear(),
    c: () => app.copy(),
    e: () => app.export(),
    t: () => app.theme(),
    "?": () => $("help").showModal(),
  };
  KINDS.forEach((name, index) => { keys[index + 1] = () => app.tab === "events" && filter.toggle(name); });

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || $("help").open) return;
    const { target } = event;
    if (target.matches("input:not([type=radio]), select, textarea")) {
      // Out of a field, and down from it into the list.
      if (event.key === "Escape" || (event.key === "Enter" && target.matches("input"))) {
        if (target.list === null || event.key === "Escape") event.preventDefault();
        $("viewport").focus();
      } else if (event.key === "ArrowDown" && target.id === "search") {
        $("viewport").focus();
        table.move(1);
        event.preventDefault();
      }
      return;
    }
    const isControl = target.matches("button, [type=radio]");
    if (isControl && (event.key === "Enter" || event.key.startsWith("Arrow"))) return;
    const key = keys[event.key];
    if (!key) return;
    event.preventDefault();
    key();
  });
}
