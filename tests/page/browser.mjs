// The browser of these tests: how it is started, what is noted of a page, how a page is judged. It is told on the command line where the packages
// of package.json are and where screenshots go, and gets as JSON what is wanted.
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
import { join } from "node:path";

const [modules, pictures] = process.argv.slice(2);
const require = createRequire(join(modules, "package.json"));
const { chromium } = require("playwright-core");
const axe = readFileSync(require.resolve("axe-core/axe.min.js"), "utf8");

const FLAGS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync";
// A stranger's site, whose name leads to this machine.
export const STRANGER = "rebound.example";
const args = [...FLAGS.split(" "), `--host-resolver-rules=MAP ${STRANGER} 127.0.0.1`];
const WIDE = { viewport: { width: 1200, height: 900 } };
const PHONE = { viewport: { width: 360, height: 740 }, deviceScaleFactor: 2, hasTouch: true, isMobile: true };

export const LOOKS = {
  light: { colorScheme: "light", ...WIDE },
  dark: { colorScheme: "dark", ...WIDE },
  phone: { colorScheme: "light", ...PHONE },
  "phone-dark": { colorScheme: "dark", ...PHONE },
};
export const wanted = JSON.parse(readFileSync(0, "utf8"));
export const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args, timeout: 30000 });
// What the browser had to say, and what was loaded.
export const noted = { console: [], requests: [] };

// A page in a context of its own; whatever the console says and whatever is loaded is noted.
export async function open(options, url) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.setDefaultTimeout(15000);
  page.on("console", (message) => noted.console.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => noted.console.push(`error: ${error}`));
  page.on("requestfailed", (request) => noted.console.push(`failed: ${request.url()}`));
  page.on("response", (response) => noted.requests.push({ url: response.url(), status: response.status(), policy: response.headers()["content-security-policy"] ?? null }));
  await page.goto(url);
  return page;
}

// What axe finds against the accessibility guidelines and good practice, and how far the page is wider than the screen.
export async function judge(page) {
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

// Keeps how the whole page looks.
export async function screenshot(page, name) {
  await page.screenshot({ path: join(pictures, `${name}.png`), fullPage: true });
}

// Types into the box for a hash, and sends it.
export async function lookUp(page, node) {
  await page.getByRole("textbox", { name: "Node or hash" }).fill(node);
  await page.getByRole("button", { name: "Look up" }).click();
  await page.waitForURL(/node=/);
}
