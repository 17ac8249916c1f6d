// The page of `segment inspect` in a real browser, with a real client.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync, mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, afterEach, before, beforeEach, describe, it } from "node:test";

import { Collector, eventually, launch, open, track } from "./harness.mjs";

const folder = mkdtempSync(join(tmpdir(), "segment-page-"));
let browser, collector, page;
before(async () => { browser = await launch(); });
after(async () => { await browser.close(); });

const start = async (options = [], context = {}) => {
  collector = await Collector.start(...options);
  page = await open(browser, collector, context);
};
afterEach(async () => {
  const troubles = page.troubles;
  await page.context().close();
  await collector.stop();
  assert.deepEqual(troubles, []);
});

const rows = () => page.$$eval(".row:not([hidden])", (all) => all
  .sort((a, b) => a.index - b.index)
  .map((row) => Array.from(row.children, (cell) => cell.textContent)));
const lists = (...wanted) => eventually(async () => (await rows()).map((cells) => cells[2]), wanted);
const until = (what, wanted) =>
  page.waitForFunction(([id, text]) => document.getElementById(id).textContent === text, [what, wanted]);
const events = (n) => until("count-events", n);
const listed = (text) => page.waitForFunction((text) => {
  const status = document.getElementById("status").textContent;
  return status.startsWith(text) && !status.includes("filtering");
}, text);
const says = (selector, wanted) => eventually(() => page.textContent(selector), wanted);
const details = (selector, wanted) => says(`#detail ${selector}`, wanted);
const picked = (wanted) => details("h2", wanted);

describe("the list", () => {
  beforeEach(() => start());

  it("shows events as they arrive, in their order, and keeps them over a reload", async () => {
    await collector.batch([track("One", { a: 1 }), track("Two")]);
    await events("2");
    await collector.send("/v1/identify", { userId: "u-9", traits: { plan: "pro" }, writeKey: "wk" });
    await events("3");
    const shown = async () => (await rows()).map((cells) => cells.slice(1, 4));
    await eventually(shown, [
      ["track", "One", "u-1"],
      ["track", "Two", "u-1"],
      ["identify", "", "u-9"],
    ]);
    const before = await rows();
    assert.equal(before[0][4], "a: 1");
    assert.match(before[0][0], /^\d\d:\d\d:\d\d\.\d\d\d$/);
    await page.reload();
    await events("3");
    await eventually(rows, before);
  });

  it("is filtered by type, name, user, text and problems", async () => {
    await collector.batch([
      track("Order Completed", { sku: "G-32" }),
      track("Order Refunded", {}, { userId: "u-2" }),
      track("Song Played", { note: "Ünïcode [x] (y)" }, { userId: "anna" }),
      { ...track("P"), type: "page", name: "Home", event: undefined },
      track(""),
    ]);
    await events("5");
    await page.fill("#filter-name", "order");
    await listed("2 of 5");
    await lists("Order Completed", "Order Refunded");
    await page.fill("#filter-user", "U-2");
    await listed("1 of 5");
    await page.click("#reset");
    await listed("5 events");
    await page.fill("#search", "ünïcode [x] (");
    await listed("1 of 5");
    await lists("Song Played");
    await collector.batch([track("Later", { note: "ünïcode [X] (z)" }), track("Not this")]);
    await listed("2 of 7");
    await page.fill("#search", "");
    await page.click("#types [data-call=page]");
    await listed("1 of 7");
    await lists("Home");
    await page.click("#types [data-call=track]");
    await listed("7 events".replace("7 events", "7 of 7"));
    await page.click("#reset");
    await page.selectOption("#problems", "loss");
    await listed("1 of 7");
    await page.fill("#search", "nothing is like this");
    await page.waitForSelector("#empty:has-text('Nothing passes the filters')");
  });

  it("is paused and cleared", async () => {
    await collector.batch([track("One")]);
    await events("1");
    await page.click("#pause");
    await collector.batch([track("Two"), track("Three")]);
    await page.waitForSelector("#pause:has-text('Resume · 2 new')");
    await lists("One");
    await page.click("#pause");
    await lists("One", "Two", "Three");
    await page.click("#clear");
    await events("0");
    await lists();
    await page.reload();
    await page.waitForSelector("#state[data-state=live]");
    await collector.batch([track("Four")]);
    await events("1");
    await lists("Four");
  });

  it("is used by keys alone", async () => {
    await collector.batch([
      track("One"),
      track("Two"),
      track("Three"),
      { ...track("x"), type: "page", event: undefined, name: "Home" },
    ]);
    await events("4");
    await lists("One", "Two", "Three", "Home");
    const press = (key) => page.keyboard.press(key);
    await press("g");
    await picked("One");
    await press("j");
    await picked("Two");
    await press("ArrowDown");
    await picked("Three");
    await press("ArrowUp");
    await picked("Two");
    await press("k");
    await picked("One");
    await press("G");
    await picked("Home");
    await press("Escape");
    await page.waitForSelector("#detail", { state: "hidden" });
    await press("/");
    await page.keyboard.type("Two");
    await listed("1 of 4");
    await lists("Two");
    await press("Enter");
    await press("j");
    await picked("Two");
    await press("x");
    await listed("4 events");
    await press("3"); // pages
    await listed("1 of 4");
    await press("x");
    await press("r");
    await page.waitForSelector("#tab-requests[aria-selected=true]");
    await press("r");
    await press("p");
    await page.waitForSelector("#pause[aria-pressed=true]");
    await press("?");
    await page.waitForSelector("#help[open]");
    await press("Escape");
    await press("C");
    await events("0");
  });
});

describe("the details", () => {
  it("show the JSON as it was sent and what is wrong with it, by the rules and the plan", async () => {
    const plan = join(folder, "plan.json");
    const properties = {
      type: "object",
      required: ["order_id", "revenue"],
      properties: { revenue: { type: "number" }, plan: { enum: ["free", "pro"] } },
    };
    const jsonSchema = { type: "object", properties: { properties } };
    const rules = [{ type: "TRACK", key: "Order Completed", version: 1, jsonSchema }];
    writeFileSync(plan, JSON.stringify({ rules }));
    await start(["--plan", plan]);
    await says("#about", /plan\.json, 1 rules/);
    await collector.send(
      "/v1/batch",
      `{"writeKey":"wk","batch":[
        {"type":"track","event":"Order Completed","userId":7,"messageId":"m1","timestamp":"2026-01-02T03:04:05Z",
          "properties":{"revenue":"9","plan":"pro","big":18446744073709551617,"n":1.50,"list":[{"a":1},{}]}},
        {"type":"track","event":"Unplanned","userId":"u","messageId":"m2","timestamp":"2026-01-02T03:04:05Z"}]}`,
    );
    await events("2");
    await page.click(".row:has-text('Order Completed')");
    const all = (selector) =>
      page.$$eval(`#detail ${selector}`, (all) => all.map((element) => element.textContent.trim()));
    await eventually(() => all(".flaws li span"), [
      "userId must be a string that is not empty (id_not_string)",
      "properties.order_id is missing",
      "properties.revenue must be a number, not a string",
      "properties: revenue should be a number, not a string",
    ]);
    await eventually(
      () => page.$$eval("#detail .flaws a", (links) => links.map((link) => [link.textContent, link.href])),
      ["delivery-overview", "spec/track"].map((page) => [
        page,
        `https://www.twilio.com/docs/segment/connections/${page}`,
      ]),
    );
    await details(".json", /"big": 18446744073709551617,/);
    await details(".json", /"n": 1\.50,/);
    await eventually(() => all(".line.loss code"), ['"userId": 7,']);
    await eventually(() => all(".line.plan code"), ['"revenue": "9",']);
    await page.waitForSelector("#detail .json .key");
    await page.waitForSelector("#detail .json .number");
    await page.click("#detail [aria-label=Fold] >> nth=0");
    await page.waitForSelector("#detail .line:has-text('big')", { state: "hidden" });
    await page.click(".row:has-text('Unplanned')");
    await details(".flaws", /"Unplanned" is not planned/);
    await page.selectOption("#problems", "plan");
    await listed("2 of 2");
  });

  it("copy an event as JSON, curl, Python and C", async () => {
    await start();
    const properties = { text: "a\nb \\ 'c' ??/", yes: true, none: null, list: [1, 2.50] };
    const more = { messageId: "m", timestamp: "2026-01-02T03:04:05Z", context: { ip: "192.0.2.1" } };
    await collector.batch([track("It's \"so\"", properties, more)]);
    await lists("It's \"so\"");
    await page.keyboard.press("j");
    const copied = async (name) => {
      await page.evaluate(() => { document.getElementById("toast").textContent = ""; });
      await page.click(`.copies button:text-is("${name}")`);
      await says("#toast", `Copied ${name}`);
      return page.evaluate(() => navigator.clipboard.readText());
    };
    const sent = JSON.parse(await copied("JSON"));
    assert.equal(sent.properties.text, "a\nb \\ 'c' ??/");
    const run = (command, options, input) => {
      const ended = spawnSync(command, options, { input, encoding: "utf8" });
      assert.ok(ended.error?.code === "ENOENT" || ended.status === 0, `${command}: ${ended.stderr}`);
      return ended.stdout;
    };
    const python = await copied("Python");
    const fake = `import sys, types, json
fake = types.ModuleType("segment.analytics")
fake.track = lambda **given: print(json.dumps(given, default=lambda time: time.isoformat()))
fake.flush = lambda: None
sys.modules["segment"] = types.ModuleType("segment")
sys.modules["segment"].analytics = sys.modules["segment.analytics"] = fake
`;
    assert.match(python, /^from datetime import datetime\n/);
    const ran = JSON.parse(run("python3", ["-"], fake + python) || "{}");
    assert.deepEqual(
      [ran.user_id, ran.event, ran.properties, ran.context],
      ["u-1", sent.event, sent.properties, sent.context],
    );
    assert.equal(ran.timestamp, "2026-01-02T03:04:05+00:00");
    const c = await copied("C");
    const head = "void f(const segment_client *client)";
    const around = `#include <segment.h>\n${head};\n${head} {\n${c}}\n`;
    run("cc", ["-std=c99", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-Iinclude", "-x", "c", "-"], around);
    assert.match(c, /segment_object \*context = segment_object_parse\("\{\\"ip\\":\\"192\.0\.2\.1\\"\}"\);/);
    assert.match(c, /\.context = context\b/);
    assert.match(c, /segment_object_free\(context\);/);
    assert.match(c, /segment_track\(client, "u-1", "It's \\"so\\"", properties, &options\);/);
    run("bash", ["-c", `command -v curl >/dev/null || exit 0; ${await copied("curl")}`]);
    await lists("It's \"so\"", "It's \"so\"");
    await page.keyboard.press("G");
    await details(".flaws", /repeated messageId/);
    assert.deepEqual(JSON.parse(await copied("JSON")), sent);
  });

  it("lead from an event to its request, its headers and its other events, and back", async () => {
    await start();
    const key = Buffer.from("secret-key:").toString("base64");
    await collector.batch([track("One"), track("Two")], { "X-Retry-Count": "2", Authorization: `Basic ${key}` });
    await events("2");
    await page.click(".row:has-text('Two')");
    await page.click("#detail .link:has-text('POST /v1/batch')");
    await details(".facts", /2 \(X-Retry-Count\)/);
    await details(".headers", /user-agenttest\/1/);
    await details(".headers", /authorizationBasic \(hidden, \d+ characters\)/);
    assert.ok(!(await page.content()).includes(key));
    await page.click("#detail .inside button:has-text('One')");
    await picked("One");
    await says("#sum-retries", "1");
  });

  it("are what is listed, exported", async () => {
    await start();
    await collector.batch([track("One", { n: 1 }), track("Two"), track("One", { n: 2 })]);
    await events("3");
    await page.fill("#filter-name", "One");
    await listed("2 of 3");
    const [download] = await Promise.all([page.waitForEvent("download"), page.click("#export")]);
    assert.match(download.suggestedFilename(), /^events-\d{8}-\d{6}\.jsonl$/);
    const lines = readFileSync(await download.path(), "utf8").trimEnd().split("\n").map((line) => JSON.parse(line));
    assert.deepEqual(lines.map((event) => event.properties.n), [1, 2]);
  });
});

describe("faults", () => {
  beforeEach(() => start());
  // What each switch is called, and how the banner begins while it is on.
  const FAULTS = {
    Normal: ["none"],
    500: ["error", "Every request is answered 500"],
    429: ["limit", "Every request is answered 429"],
    Drop: ["drop", "Every request is read"],
    Slow: ["slow", "Every request is taken"],
    Offline: ["offline", "Every connection"],
  };

  /** Does something by which the collector is told of such a fault, and waits until it knows. */
  const switches = async (does, fault) => {
    const isIt = (answer) => {
      if (!answer.url().endsWith("/-/fault")) return false;
      const told = answer.request().postDataJSON();
      return Object.entries(fault).every(([name, value]) => told[name] === value);
    };
    const [answer] = await Promise.all([page.waitForResponse(isIt), does()]);
    assert.equal(answer.status(), 204);
  };
  const choose = async (label) => {
    const [kind, sentence] = FAULTS[label];
    await switches(() => page.click(`#faults label:has-text("${label}")`), { kind });
    if (kind === "none") await page.waitForSelector("#banner", { state: "hidden" });
    else await page.waitForSelector(`#banner:has-text("${sentence}")`);
  };
  const enter = (id, value) => switches(async () => {
    await page.fill(`#${id}`, String(value));
    await page.press(`#${id}`, "Tab");
  }, { [id]: value });

  it("are seen by a client, and in the list of requests", async () => {
    const send = (headers) => collector.batch([track("E")], headers);
    await choose("500");
    assert.equal((await send()).status, 500);
    await choose("429");
    await enter("seconds", 7);
    const limited = await send({ "X-Retry-Count": "1" });
    assert.deepEqual(
      [limited.status, limited.headers["retry-after"], limited.headers["x-ratelimit-reset"]],
      [429, "7", "7"],
    );
    await choose("Drop");
    assert.equal((await send()).error, "ECONNRESET");
    await choose("Offline");
    assert.equal((await send()).error, "ECONNRESET");
    await choose("Slow");
    await enter("seconds", 1);
    const before = performance.now();
    assert.equal((await send()).status, 200);
    assert.ok(performance.now() - before >= 1000);
    await choose("Normal");
    assert.equal((await send()).status, 200);
    await events("2");
    await page.click("#tab-requests");
    await eventually(async () => (await rows()).map((cells) => [cells[1], cells[4], cells[5]]), [
      ["500", "1", ""],
      ["429", "1", "1"],
      ["dropped", "1", ""],
      ["offline", "0", ""],
      ["200 slow", "1", ""],
      ["200", "1", ""],
    ]);
    await page.selectOption("#outcomes", "failed");
    await listed("4 of 6");
  });

  it("end by themselves after as many requests as they were told", async () => {
    await choose("500");
    await enter("times", 2);
    const statuses = [];
    for (let n = 0; n < 3; n += 1) statuses.push((await collector.batch([track("E")])).status);
    assert.deepEqual(statuses, [500, 500, 200]);
    await page.waitForSelector("#banner", { state: "hidden" });
    await eventually(() => page.isChecked("#faults input[value=none]"), true);
  });
});

describe("the page", () => {
  it("is light or dark as the system is, or as it is told", async () => {
    await start([], { colorScheme: "dark" });
    const back = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    await page.waitForSelector("html[data-theme=dark]");
    const dark = await back();
    await page.emulateMedia({ colorScheme: "light" });
    await page.waitForSelector("html[data-theme=light]");
    assert.notEqual(await back(), dark);
    await page.keyboard.press("t");
    await page.keyboard.press("t");
    await eventually(back, dark);
    await page.reload();
    await eventually(back, dark);
  });

  it("takes hostile text as text", async () => {
    await start();
    const evil = `"><img src=x onerror="window.hacked=1"><script>window.hacked=1</script>\u202e\u0000\u001b[2J{{7*7}}`;
    const all = { [evil]: evil, __proto__x: 1, constructor: evil, toString: evil };
    await collector.batch(
      [
        track(evil, all, {
          userId: evil,
          messageId: evil,
          anonymousId: evil,
          context: { [evil]: [evil, { [evil]: null }] },
        }),
        { type: evil, event: { a: evil }, userId: ["x"], properties: `${evil}` },
      ],
      { "X-Evil": '<img src=x onerror="window.hacked=1">', "User-Agent": "<b>agent</b>" },
    );
    await collector.send(
      "/v1/batch",
      `{"batch":[{"__proto__":{"hacked":1},"constructor":{"prototype":{"hacked":1}},
        "type":"track","event":"__proto__","userId":"__proto__"}]}`,
    );
    await collector.send(`/v1/${encodeURIComponent("<img src=x onerror=1>")}`, "{}");
    await collector.send("/v1/batch", `{"batch":[${"[".repeat(9000)}${"]".repeat(9000)}]}`);
    await collector.send(
      "/v1/batch",
      '{"writeKey":"w","batch":[{"type":"track","event":"\\ud800","userId":"u","properties":{"\\ud800":"\\udfff"}}]}',
    );
    await until("count-requests", "5");
    await page.fill("#search", "onerror");
    await listed("2 of");
    for (let n = 0; n < 2; n += 1) await page.keyboard.press(n === 0 ? "Enter" : "k");
    await page.keyboard.press("x");
    for (let n = 0; n < 6; n += 1) {
      await page.keyboard.press("k");
      for (const button of await page.$$("#detail .copies button")) await button.click();
    }
    await page.keyboard.press("Escape");
    await page.keyboard.press("r");
    for (let n = 0; n < 6; n += 1) await page.keyboard.press("k");
    assert.equal(await page.evaluate(() => window.hacked ?? ({}).hacked), undefined);
    assert.equal(await page.$$eval("main img, main script, main b:not(.flaws b)", (all) => all.length), 0);
    assert.ok(!/[\u202e\u0000\u001b]/.test(await page.textContent("main")));
  });

  it("connects again by itself, and goes on", async () => {
    const store = join(folder, "store.jsonl");
    await start(["--store", store]);
    await collector.batch([track("One")]);
    await events("1");
    const port = collector.port;
    await collector.stop();
    await page.waitForSelector("#state[data-state=lost]");
    collector = await Collector.start("--store", store, "--port", port);
    await page.waitForSelector("#state[data-state=live]");
    await collector.batch([track("Two")]);
    await events("2");
    await lists("One", "Two");
    // Without a store the collector knows nothing of before, and the page shows what the collector has.
    await collector.stop();
    await page.waitForSelector("#state[data-state=lost]");
    collector = await Collector.start("--port", port);
    await page.waitForSelector("#state[data-state=live]");
    await collector.batch([track("Three")]);
    await events("1");
    await lists("Three");
  });

  it("needs the token where one is set", async () => {
    await start(["--token", "let-me-in"]);
    assert.equal(page.url(), `${collector.url.origin}/`);
    await collector.batch([track("One")]);
    await events("1");
    const stranger = await (await browser.newContext()).newPage();
    const answer = await stranger.goto(`${collector.url.origin}/`);
    assert.equal(answer.status(), 403);
    assert.equal((await stranger.goto(`${collector.url.origin}/-/stream`)).status(), 403);
    await stranger.context().close();
  });

  it("forgets the oldest events, and says how many it keeps", async () => {
    await start(["--keep", "100"]);
    for (let n = 0; n < 5; n += 1) await collector.batch(Array.from({ length: 50 }, (_, i) => track(`E${n * 50 + i}`)));
    // There are 100 after the second batch, too.
    await page.waitForSelector(".row:has-text('E249')");
    await events("100");
    await page.keyboard.press("g");
    await picked("E150");
  });
});

describe("a hundred thousand events", () => {
  it("are listed, scrolled, searched and reloaded in small steps", async () => {
    await start();
    const all = 100_000;
    const size = 1000;
    for (let from = 0; from < all; from += size) {
      const text = "some text that makes it as long as events are";
      const make = (_, i) => track(`Event ${(from + i) % 97}`, { index: from + i, text });
      const batch = Array.from({ length: size }, make);
      assert.equal((await collector.batch(batch)).status, 200);
    }
    await page.reload();
    await listed("100,000 events");
    const viewport = await page.$("#viewport");
    const height = await viewport.evaluate((box) => box.scrollHeight);
    for (let step = 0; step <= 60; step += 1) {
      const scroll = (box, top) => new Promise((done) => {
        box.scrollTop = top;
        requestAnimationFrame(done);
      });
      await viewport.evaluate(scroll, (height * step) / 60);
    }
    assert.ok((await page.$$(".row")).length < 200, "only what is seen is there");
    await page.keyboard.press("g");
    await details(".json", /"index": 0,/);
    // It searches in slices, and draws and listens between them: no machine is done with so many in the first.
    await page.evaluate(() => {
      const status = document.getElementById("status");
      window.slices = 0;
      const note = () => { window.slices += status.textContent.includes("filtering") ? 1 : 0; };
      new MutationObserver(note).observe(status, { childList: true, characterData: true, subtree: true });
    });
    await page.fill("#search", '"index":77777,');
    await listed("1 of 100,000");
    assert.ok(await page.evaluate(() => window.slices) > 0);
    await page.click("#reset");
    await listed("100,000 events");
    await page.keyboard.press("G");
    await details(".json", /"index": 99999,/);
  });
});
