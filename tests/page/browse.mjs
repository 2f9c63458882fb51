// Looks at the page as people do, and prints as JSON what there is to judge: test_page.py judges it.
//
//     node browse.mjs MODULES PICTURES < WANTED
//
// MODULES is the directory that the packages of package.json are in; PICTURES is where screenshots go. WANTED is JSON: the `url` of
// the page, a `node` to look up, and a `query` with the `hash` that it should have to be checked.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const [modules, pictures] = process.argv.slice(2);
const require = createRequire(join(modules, "package.json"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");
const wanted = JSON.parse(readFileSync(0, "utf8"));

const FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync";
const LOOKS = {
  light: { colorScheme: "light", viewport: { width: 1200, height: 900 } },
  dark: { colorScheme: "dark", viewport: { width: 1200, height: 900 } },
  phone: { colorScheme: "light", viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true },
};

// A stranger's site, whose name leads to this machine.
const STRANGER = "rebound.example";
const args = [...FLAGS.split(" "), `--host-resolver-rules=MAP ${STRANGER} 127.0.0.1`];

const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args, timeout: 30000 });
const seen = { looks: {}, console: [], requests: [] };
// Each answer is judged in the light and in one other look.
const ASKED = { light: ["hash", "disco-info"], dark: ["disco-info"], phone: ["hash"] };

// A page in a context of its own; whatever the console says and whatever is loaded is noted.
async function open(options, url = wanted.url) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(15000);
  page.on("console", (message) => seen.console.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => seen.console.push(`error: ${error}`));
  page.on("requestfailed", (request) => seen.console.push(`failed: ${request.url()}`));
  page.on("response", (response) => seen.requests.push({ url: response.url(), status: response.status(), policy: response.headers()["content-security-policy"] ?? null }));
  await page.goto(url);
  return page;
}

// What axe finds against the accessibility guidelines and good practice, and how far the page is wider than the screen.
async function judge(page) {
  await page.evaluate(axe);
  const results = await page.evaluate(() => axe.run(document, { resultTypes: ["violations", "incomplete"] }));
  const brief = (list) => list.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" | ")}`);
  return {
    violations: brief(results.violations),
    incomplete: brief(results.incomplete),
    passes: results.passes.length,
    overflow: await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth),
  };
}

// What the script of a site can read here whose name is led to this machine (DNS rebinding). What it is loaded from matters to the browser
// by its name alone: so it may as well be an answer of capsd that forbids no scripts.
async function rebound(paths) {
  const context = await browser.newContext();
  const page = await context.newPage();
  const site = `http://${STRANGER}:${new URL(wanted.url).port}/`;
  await page.goto(`${site}healthz`);
  const read = await page.evaluate(
    (paths) => Promise.all(paths.map(async (path) => fetch(path).then(async (answer) => ({ path, status: answer.status, text: await answer.text() })))),
    paths,
  );
  await context.close();
  return read;
}

async function lookUp(page) {
  await page.getByRole("textbox", { name: "Node or hash" }).fill(wanted.node);
  await page.getByRole("button", { name: "Look up" }).click();
  await page.waitForURL(/node=/);
}

async function check(page) {
  await page.getByRole("textbox", { name: "The <query/> of a client" }).fill(wanted.query);
  await page.getByRole("textbox", { name: /^The hash that it should have/ }).fill(wanted.hash);
  await page.getByRole("button", { name: "Check" }).click();
  await page.getByRole("status").waitFor();
}

try {
  // With the keyboard alone, and without scripts.
  const page = await open({ javaScriptEnabled: false, viewport: { width: 1200, height: 900 } });
  seen.tree = await page.locator("body").ariaSnapshot();
  seen.stops = [];
  for (let stop = 0; stop < 40; stop += 1) {
    await page.keyboard.press("Tab");
    const focused = page.locator(":focus");
    if ((await focused.count()) === 0) break;
    const [snapshot, outline] = [await focused.ariaSnapshot(), await focused.evaluate((element) => getComputedStyle(element).outlineStyle)];
    if (seen.stops.some((known) => known.snapshot === snapshot)) break;
    seen.stops.push({ snapshot, outline });
  }
  await page.getByRole("textbox", { name: "Node or hash" }).focus();
  await page.keyboard.type(wanted.node);
  await page.keyboard.press("Enter");
  await page.waitForURL(/node=/);
  seen.known = await page.getByRole("search").locator("xpath=..").innerText();
  await page.goto(wanted.url);
  await check(page);
  seen.checked = await page.getByRole("status").innerText();
  await page.context().close();

  seen.rebound = await rebound(["/", "/api/v1/status", "/api/v1/population", "/metrics", `/?node=${encodeURIComponent(wanted.node)}`]);

  for (const [name, options] of Object.entries(LOOKS)) {
    const page = await open(options);
    await page.getByText("The same as a table").click();
    const states = { plain: await judge(page) };
    await page.getByText("The same as a table").click();
    await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
    for (const [state, ask] of Object.entries({ hash: lookUp, "disco-info": check })) {
      if (!ASKED[name].includes(state)) continue;
      await ask(page);
      states[state] = await judge(page);
      await page.screenshot({ path: join(pictures, `${name}-${state}.png`), fullPage: true });
    }
    seen.looks[name] = states;
    await page.context().close();
  }
} finally {
  await browser.close();
}
console.log(JSON.stringify(seen));
