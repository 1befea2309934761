// How the list of images of a large site feels in a browser: how long it takes to open, and to filter while one types.
//
//     bench/generate inputs many
//     ocisite publish --site site --host example.com inputs/many
//     ocisite serve site --listen 127.0.0.1:8000
//     npm install --prefix modules playwright-core@1.55.1
//     MODULES=modules BROWSER=/usr/bin/chromium node bench/catalogue.mjs http://127.0.0.1:8000/
//
// Prints medians of five fresh profiles, in milliseconds. A key is done when the browser has painted what it left of the list.

import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const require = createRequire(join(resolve(process.env.MODULES), "package.json"));
const { chromium } = require("playwright-core");

const RUNS = 5;
const TYPED = "app-042";

const median = (numbers) => [...numbers].sort((a, b) => a - b)[Math.floor(numbers.length / 2)];

const measure = async (browser, url) => {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(url, { waitUntil: "load" });
  const opened = await page.evaluate(() => {
    const [navigation] = performance.getEntriesByType("navigation");
    const paint = performance.getEntriesByName("first-contentful-paint")[0];
    return { painted: paint?.startTime, loaded: navigation.loadEventEnd };
  });
  const keys = await page.evaluate(async (typed) => {
    const painted = () => new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    const field = document.querySelector("input[type=search]");
    const times = [];
    field.focus();
    for (let end = 1; end <= typed.length; end += 1) {
      await painted();
      const start = performance.now();
      field.value = typed.slice(0, end);
      field.dispatchEvent(new Event("input", { bubbles: true }));
      await painted();
      times.push(performance.now() - start);
    }
    return times;
  }, TYPED);
  const left = await page.locator("ul.rows > li:visible").count();
  if (left === 0 || left > 200) throw new Error(`${left} images are left of the list by typing ${TYPED}`);
  await context.close();
  return { ...opened, slowestKey: Math.max(...keys), key: median(keys) };
};

const browser = await chromium.launch({
  executablePath: process.env.BROWSER,
  args: ["--no-sandbox", "--disable-gpu", "--disable-quic"],
});
const runs = [];
for (let run = 0; run < RUNS; run += 1) runs.push(await measure(browser, process.argv[2]));
await browser.close();
for (const name of Object.keys(runs[0])) console.log(`${name}: ${median(runs.map((run) => run[name])).toFixed(0)} ms`);
