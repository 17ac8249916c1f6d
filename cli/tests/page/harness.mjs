// The program under test, a browser to look at it, and a client that sends to it.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import http from "node:http";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { isDeepStrictEqual } from "node:util";

const require = createRequire(`${process.env.PAGE_TOOLS}/`);
const { chromium } = require("playwright-core");

/** So many milliseconds only a hang takes. */
export const PATIENCE = 120_000 * Number(process.env.SEGMENT_TEST_PATIENCE ?? 1);

/** Reads until what is read is what is expected, or matches it: the page learns and draws when it can. */
export async function eventually(read, expected) {
  const isIt = (found) => (expected instanceof RegExp ? expected.test(found) : isDeepStrictEqual(found, expected));
  const end = Date.now() + PATIENCE;
  for (;;) {
    const found = await read();
    if (isIt(found)) return;
    if (Date.now() > end) {
      if (expected instanceof RegExp) assert.match(found, expected);
      else assert.deepEqual(found, expected);
    }
    await sleep(5);
  }
}

/** A collector that runs until it is stopped. */
export class Collector {
  static async start(...options) {
    const collector = new Collector();
    const port = options.includes("--port") ? [] : ["--port", "0"];
    collector.child = spawn(process.env.SEGMENT, ["inspect", "--quiet", ...port, ...options], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    const lines = createInterface({ input: collector.child.stdout });
    const ended = once(collector.child, "exit").then(() => ["it ended at once"]);
    const [line] = await Promise.race([once(lines, "line"), ended]);
    collector.address = line.split("listening on ")[1];
    collector.url = new URL(collector.address);
    return collector;
  }

  get port() {
    return this.url.port;
  }

  async stop() {
    if (this.child.exitCode !== null) return;
    this.child.kill();
    await once(this.child, "exit");
  }

  /** Sends a body; the answer, or the error code of the connection. */
  send(path, body, headers = {}) {
    return new Promise((resolve) => {
      const text = typeof body === "string" ? body : JSON.stringify(body);
      const all = { "Content-Type": "application/json", "User-Agent": "test/1", ...headers };
      const options = { host: "127.0.0.1", port: this.port, path, method: "POST", headers: all, agent: false };
      const request = http.request(options, (answer) => {
        answer.resume();
        answer.on("end", () => resolve({ status: answer.statusCode, headers: answer.headers }));
      });
      request.on("error", (error) => resolve({ error: error.code }));
      request.end(text);
    });
  }

  batch(events, headers) {
    return this.send("/v1/batch", { batch: events, writeKey: "wk", sentAt: new Date().toISOString() }, headers);
  }
}

let serial = 0;
/** An event with which nothing is wrong. */
export function track(event, properties = {}, more = {}) {
  serial += 1;
  return {
    type: "track",
    event,
    userId: "u-1",
    messageId: `m-${process.pid}-${serial}`,
    timestamp: new Date().toISOString(),
    properties,
    ...more,
  };
}

export const launch = () => chromium.launch({ executablePath: process.env.CHROMIUM, args: ["--no-sandbox"] });

const LOST = /ERR_CONNECTION_REFUSED|ERR_EMPTY_RESPONSE|ERR_INCOMPLETE_CHUNKED|ERR_CONNECTION_RESET/;

/** The page of a collector. What it asks of others, and what goes wrong in it, is an error. */
export async function open(browser, collector, options = {}) {
  const context = await browser.newContext({
    viewport: { width: 1280, height: 800 },
    permissions: ["clipboard-read", "clipboard-write"],
    ...options,
  });
  context.setDefaultTimeout(PATIENCE);
  const page = await context.newPage();
  page.troubles = [];
  page.on("pageerror", (error) => page.troubles.push(`error: ${error.message}`));
  page.on("console", (message) => {
    const isLost = LOST.test(message.text());
    if (message.type() === "error" && !isLost) page.troubles.push(`console: ${message.text()}`);
  });
  page.on("request", (request) => {
    const isOurs = [`${collector.url.origin}/`, "blob:"].some((start) => request.url().startsWith(start));
    if (!isOurs) page.troubles.push(`asked ${request.url()}`);
  });
  await page.goto(collector.address);
  await page.waitForSelector("#state[data-state=live]");
  return page;
}
