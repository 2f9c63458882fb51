// Looks at pages in other states than the everyday one, each in every look, and prints as JSON what there is to judge: test_states.py judges it.
//
//     node states.mjs MODULES PICTURES < WANTED
//
// MODULES and PICTURES are told in browser.mjs. WANTED is JSON: by the name of a state the `url` of the page, and perhaps a `node` to
// look up there.
import { LOOKS, browser, judge, lookUp, noted, open, screenshot, wanted } from "./browser.mjs";

const seen = { ...noted, states: {} };
try {
  for (const [look, options] of Object.entries(LOOKS)) {
    const view = async ([state, { url, node }]) => {
      const page = await open(options, url);
      if (node) await lookUp(page, node);
      seen.states[`${state}, ${look}`] = { ...(await judge(page)), title: await page.title(), text: await page.locator("body").innerText() };
      await screenshot(page, `${state}-${look}`);
      await page.context().close();
    };
    await Promise.all(Object.entries(wanted).map(view));
  }
} finally {
  await browser.close();
}
console.log(JSON.stringify(seen));
