// Looks at the page as people do, and prints as JSON what there is to judge: test_page.py judges it.
//
//     node browse.mjs MODULES PICTURES < WANTED
//
// MODULES and PICTURES are told in browser.mjs. WANTED is JSON: the `url` of the page, a `node` to look up, and a `query` with the `hash`
// that it should have to be checked.
import { LOOKS, STRANGER, browser, judge, lookUp, noted, open, screenshot, wanted } from "./browser.mjs";

const seen = { ...noted, looks: {} };
// Each answer is judged in the light and in the dark, and on a phone.
const ASKED = { light: ["hash", "disco-info"], dark: ["hash", "disco-info"], phone: ["hash"], "phone-dark": ["disco-info"] };

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

// Which addresses the page of another site can have as a part of it: `localhost` is not the same site as 127.0.0.1.
async function loaded(addresses) {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(`http://localhost:${new URL(wanted.url).port}/healthz`);
  const load = (address) =>
    new Promise((done) => {
      const part = Object.assign(document.createElement("object"), { data: address, onload: () => done(true), onerror: () => done(false) });
      document.body.append(part);
    });
  const parts = {};
  for (const address of addresses) parts[address] = await page.evaluate(load, address);
  await context.close();
  return parts;
}

async function check(page) {
  await page.getByRole("textbox", { name: "The <query/> of a client" }).fill(wanted.query);
  await page.getByRole("textbox", { name: /^The hash that it should have/ }).fill(wanted.hash);
  await page.getByRole("button", { name: "Check" }).click();
  await page.getByRole("status").waitFor();
}

try {
  // With the keyboard alone, and without scripts.
  const page = await open({ ...LOOKS.light, javaScriptEnabled: false }, wanted.url);
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

  seen.loaded = await loaded(["healthz", "api/v1/status", "style.css", "nothing"].map((path) => wanted.url + path));

  for (const [name, options] of Object.entries(LOOKS)) {
    const page = await open(options, wanted.url);
    await page.getByText("The same as a table").click();
    const states = { plain: await judge(page) };
    await page.getByText("The same as a table").click();
    await screenshot(page, name);
    for (const [state, ask] of Object.entries({ hash: (page) => lookUp(page, wanted.node), "disco-info": check })) {
      if (!ASKED[name].includes(state)) continue;
      await ask(page);
      states[state] = await judge(page);
      await screenshot(page, `${name}-${state}`);
    }
    seen.looks[name] = states;
    await page.context().close();
  }
} finally {
  await browser.close();
}
console.log(JSON.stringify(seen));
