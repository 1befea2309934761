// The catalogue in a real browser. browser.rs starts a server and says where it is:
//
//     OCISITE_URL      the site that tests/it/catalogue/site.rs makes
//     OCISITE_MODULES  where the packages of tests/tools/package.json are installed
//     OCISITE_BROWSER  the program
//     OCISITE_SHOTS    a directory for screenshots; none are taken without it

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";
import { join } from "node:path";

const require = createRequire(join(process.env.OCISITE_MODULES, "package.json"));
const { chromium } = require("playwright-core");
const axe = require("axe-core");

const site = process.env.OCISITE_URL;
const app = "catalogue/images/example.com/team/app.html";
const hostile = "catalogue/images/example.com/hostile.html";
const patience = 60_000;

let browser;
before(async () => {
  const args = ["--no-sandbox", "--disable-gpu", "--disable-quic"];
  browser = await chromium.launch({ executablePath: process.env.OCISITE_BROWSER, args, timeout: patience });
});
after(() => browser?.close());

// Opens a page in a fresh profile. Whatever the page complains of, and whatever it asks of others, fails the test.
const visit = async (path, options = {}, check) => {
  const context = await browser.newContext({ permissions: ["clipboard-read", "clipboard-write"], ...options });
  context.setDefaultTimeout(patience);
  const page = await context.newPage();
  const complaints = [];
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("dialog", (dialog) => complaints.push(`dialog: ${dialog.message()}`) && dialog.dismiss());
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(site) && !url.startsWith("data:")) complaints.push(`request to ${url}`);
  });
  page.on("response", (response) => response.status() >= 400 && complaints.push(`${response.status()} ${response.url()}`));
  try {
    await page.goto(site + path);
    await check(page);
    assert.deepEqual(complaints, []);
  } finally {
    await context.close();
  }
};

const seriousProblems = (page) =>
  page.evaluate(async (source) => {
    // Evaluated by the debugger, which the page's policy does not concern.
    (0, eval)(source);
    const { violations } = await window.axe.run();
    const serious = violations.filter(({ impact }) => impact === "serious" || impact === "critical");
    return serious.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`);
  }, axe.source);

const visibleNames = (page) => page.locator("ul.rows li:visible .what a").allTextContents();

test("the list says what there is", () =>
  visit("", {}, async (page) => {
    assert.equal(await page.title(), "Images of example.com");
    assert.deepEqual(await visibleNames(page), ["base/debian", "hostile", "team/app", "team/worker", "tools/convert", "web/search"]);
    await page.getByRole("link", { name: "team/app" }).click();
    assert.equal(page.url(), site + app);
    assert.equal(await page.getByRole("heading", { level: 1 }).textContent(), "team/app");
  }));

test("the list is filtered while one types", () =>
  visit("", {}, async (page) => {
    await page.getByRole("searchbox", { name: "Filter images" }).fill("TEAM arm64");
    assert.deepEqual(await visibleNames(page), ["team/app", "team/worker"]);
    assert.equal(await page.locator("#shown").textContent(), "2 of 6 images");
    await page.reload();
    await page.goto(`${site}?q=search`);
    assert.deepEqual(await visibleNames(page), ["web/search"]);
    await page.getByRole("searchbox").fill("nothing like it");
    assert.deepEqual(await visibleNames(page), []);
    assert.ok(await page.getByText("No image matches.").isVisible());
  }));

test("the keyboard is enough", () =>
  visit("", {}, async (page) => {
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.textContent), "Skip to content");
    await page.keyboard.press("/");
    assert.equal(await page.evaluate(() => document.activeElement.id), "filter");
    await page.keyboard.type("worker");
    assert.deepEqual(await visibleNames(page), ["team/worker"]);
    await page.keyboard.press("Escape");
    assert.equal((await visibleNames(page)).length, 6);
    await page.keyboard.type("worker");
    await page.keyboard.press("Tab");
    await page.keyboard.press("Enter");
    await page.waitForURL("**/team/worker.html");
    // The refs open and close with the keyboard, too.
    const older = page.locator("details.release").nth(1);
    await older.locator("> summary").focus();
    await page.keyboard.press("Enter");
    assert.equal(await older.getAttribute("open"), "");
  }));

test("commands are copied as they are", () =>
  visit(app, {}, async (page) => {
    await page.getByRole("button", { name: "Copy docker command" }).first().click();
    await page.getByText("Copied", { exact: true }).first().waitFor();
    assert.equal(await page.evaluate(() => navigator.clipboard.readText()), "docker pull example.com/team/app:2.1.0");
    await page.getByRole("button", { name: "Copy ocisite command" }).first().focus();
    await page.keyboard.press("Enter");
    const copied = "ocisite pull 'example.com/team/app#2.1.0' --to app";
    await page.waitForFunction(async (text) => (await navigator.clipboard.readText()) === text, copied);
  }));

test("layers that other images have are marked", async () => {
  const marked = (release) => release.locator(".layers li", { has: release.page().locator(".mark") });
  await visit(app, {}, async (page) => {
    // Of each platform, the base and the certificates; the bar shows the same.
    const newest = page.locator("details.release").first();
    await newest.locator(".legend").waitFor();
    assert.equal(await marked(newest).count(), 2 * 2);
    assert.equal(await newest.locator(".layers li").count(), 2 * 4);
    assert.equal(await newest.locator(".bar rect.shared").count(), 2 * 2);
    // An older release asks when it is opened.
    const older = page.locator("details.release").nth(1);
    assert.equal(await marked(older).count(), 0);
    await older.locator("> summary").click();
    await older.locator(".legend").waitFor();
    assert.equal(await marked(older).count(), 2 * 2);
  });
  await visit(app, { javaScriptEnabled: false }, async (page) => {
    assert.equal(await page.locator(".mark, rect.shared").count(), 0);
    assert.equal(await page.locator(".legend").first().isVisible(), false);
  });
});

test("a link to a ref opens it", () =>
  visit(`${app}#ref-2.0.0`, {}, async (page) => {
    assert.ok(await page.locator("details.release", { has: page.locator("[id='ref-2.0.0']") }).locator("> .body").isVisible());
  }));

test("everything is there without scripts", async () => {
  await visit("", { javaScriptEnabled: false }, async (page) => {
    assert.equal((await visibleNames(page)).length, 6);
    assert.equal(await page.getByRole("searchbox").count(), 0);
  });
  await visit(app, { javaScriptEnabled: false }, async (page) => {
    assert.ok(await page.getByText("docker pull example.com/team/app:2.1.0").isVisible());
    assert.equal(await page.getByRole("button").count(), 0);
  });
});

test("hostile annotations stay text", () =>
  visit(hostile, {}, async (page) => {
    await page.locator("details").evaluateAll((all) => all.forEach((details) => (details.open = true)));
    for (const text of ["<script>alert(document.domain)</script>", "javascript:alert(1)", "Not a heading", "]]>--><style>"]) {
      assert.ok(await page.getByText(text).first().isVisible(), text);
    }
    const found = await page.evaluate(() => ({
      scripts: document.scripts.length,
      headings: document.querySelectorAll("h1").length,
      links: [...document.links].map((link) => link.protocol).filter((protocol) => !["http:", "https:"].includes(protocol)),
      handlers: [...document.querySelectorAll("*")].flatMap((element) => element.getAttributeNames()).filter((name) => name.startsWith("on")),
    }));
    assert.deepEqual(found, { scripts: 1, headings: 1, links: [], handlers: [] });
  }));

test("nothing is wider than a phone", async () => {
  for (const path of ["", app, hostile]) {
    await visit(path, { viewport: { width: 320, height: 640 } }, async (page) => {
      const width = await page.evaluate(() => document.documentElement.scrollWidth);
      assert.ok(width <= 320, `${path}: ${width}`);
    });
  }
});

test("nothing keeps people with disabilities out", async () => {
  for (const colorScheme of ["light", "dark"]) {
    for (const path of ["", app, hostile]) {
      await visit(path, { colorScheme, bypassCSP: true }, async (page) => {
        await page.locator("details").evaluateAll((all) => all.forEach((details) => (details.open = true)));
        assert.deepEqual(await seriousProblems(page), [], `${path} ${colorScheme}`);
      });
    }
  }
});

test("a printed page has everything", () =>
  visit(app, {}, async (page) => {
    await page.emulateMedia({ media: "print" });
    await page.evaluate(() => dispatchEvent(new Event("beforeprint")));
    assert.ok(await page.getByText("docker pull example.com/team/app:2.0.0-rc1").isVisible());
    assert.equal(await page.getByRole("button").filter({ visible: true }).count(), 0);
  }));

// How to look at the pages, rather than a test of them.
const shots = process.env.OCISITE_SHOTS ? [
  ["list", "", 1100, 720, "light"],
  ["image", app, 1100, 900, "light"],
  ["list-dark", "", 1100, 720, "dark"],
  ["image-dark", app, 1100, 900, "dark"],
  ["list-narrow", "", 390, 844, "light"],
  ["image-narrow", app, 390, 844, "light"],
] : [];
for (const [name, path, width, height, colorScheme] of shots) {
  test(`a screenshot of ${name}`, () =>
    visit(path, { viewport: { width, height }, colorScheme }, (page) =>
      page.screenshot({ path: join(process.env.OCISITE_SHOTS, `${name}.png`) })));
}
