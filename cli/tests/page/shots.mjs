// Takes the pictures of the page that are in docs/.

import { mkdtempSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { Collector, launch, open, track } from "./harness.mjs";

const docs = process.argv[2];
const folder = mkdtempSync(join(tmpdir(), "segment-shots-"));

const order = {
  type: "object",
  required: ["order_id", "revenue"],
  properties: { order_id: { type: "string" }, revenue: { type: "number" } },
};
const rule = (key, properties = {}) => ({
  type: "TRACK",
  key,
  jsonSchema: { type: "object", properties: { properties } },
});
const planned = ["Product Viewed", "Song Played", "Level Completed", "Song Paused"].map((key) => rule(key));
writeFileSync(join(folder, "plan.json"), JSON.stringify({ rules: [rule("Order Completed", order), ...planned] }));

// The same pictures every time, but for the clock.
let seed = 7;
const random = (below) => {
  seed = (seed * 1103515245 + 12345) % 2147483648;
  return Math.floor((seed / 2147483648) * below);
};
const users = ["u-42", "u-1007", "u-88", "u-311", "u-5230"];
const context = { library: { name: "segment-native", version: "0.1.0" }, os: { name: "Linux" }, locale: "de-AT" };
const make = (event, properties, more) => track(event, properties, { userId: users[random(5)], context, ...more });
const other = (type, more) => ({ ...make(undefined, undefined), type, ...more });
const kinds = [
  () =>
    make("Product Viewed", {
      product_id: `p-${random(1000)}`,
      name: "Monopoly: 3rd Edition",
      price: 18.99,
      currency: "EUR",
    }),
  () => make("Song Played", { title: "Blue in Green", artist: "Bill Evans", seconds: 327 }),
  () => make("Level Completed", { level: random(40), stars: 3, seconds: 81.25 }),
  () =>
    make("Order Completed", {
      order_id: `o-${random(9999)}`,
      revenue: 59.9,
      currency: "EUR",
      products: [{ product_id: "p-1", price: 29.95 }],
    }),
  () => other("page", { name: "Pricing", properties: { path: "/pricing", title: "Pricing" } }),
  () => other("screen", { name: "Main Menu", properties: { variant: "b" } }),
  () => other("identify", { traits: { plan: "pro", age: 34, email: "anna@example.com" } }),
  () => other("group", { groupId: "acme", traits: { name: "Acme", employees: 120 } }),
  () =>
    make("Song Paused", { seconds: 12 }, { userId: undefined, anonymousId: "6f1c2a90-8a7e-4d1e-9a54-0c1d2e3f4a5b" }),
];

const collector = await Collector.start("--plan", join(folder, "plan.json"));
const browser = await launch();
const page = await open(browser, collector, { colorScheme: "light" });
const headers = { "User-Agent": "segment-native/0.1.0" };
const seconds = 26;
for (let tick = 0; tick < seconds * 8; tick += 1) {
  const crowd = 1 + Math.round(2.2 + 2 * Math.sin(tick / 17) + random(2));
  const events = Array.from({ length: crowd }, () => kinds[random(3) === 0 ? random(kinds.length) : random(4)]());
  if (tick % 31 === 7) events.push(make("", {}), make("Coupon Used", {}));
  await collector.batch(events, tick % 40 === 39 ? { ...headers, "X-Retry-Count": "1" } : headers);
  await page.waitForTimeout(120);
}
await collector.batch(
  [kinds[1](), make("", { from: "menu" }), kinds[2](), kinds[1](), make("Coupon Used", { code: "MAY" })],
  headers,
);
await collector.batch(
  [
    kinds[6](),
    kinds[0](),
    make("Order Completed", { order_id: 7041, revenue: "59.90", currency: "EUR", coupon: null }),
    kinds[1](),
    kinds[4](),
    kinds[2](),
  ],
  headers,
);
await page.waitForTimeout(400);
await page.keyboard.press("k");
for (let n = 0; n < 3; n += 1) await page.keyboard.press("k");
await page.waitForTimeout(300);
await page.screenshot({ path: join(docs, "inspect-light.png") });
await page.emulateMedia({ colorScheme: "dark" });
await page.waitForTimeout(300);
await page.screenshot({ path: join(docs, "inspect-dark.png") });
await browser.close();
await collector.stop();
