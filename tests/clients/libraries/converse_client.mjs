// converse.js without its windows (@converse/headless), in a page that is not shown.
import { readFile } from "node:fs/promises";
import "fake-indexeddb/auto";
import { JSDOM } from "jsdom";
import WebSocket from "ws";

const page = new JSDOM("<!DOCTYPE html><body></body>", { url: "https://example.org/", pretendToBeVisual: true });
const { window } = page;
for (const name of Object.getOwnPropertyNames(window)) {
  if (!(name in globalThis)) Object.defineProperty(globalThis, name, { configurable: true, writable: true, value: window[name] });
}
globalThis.window = globalThis;
for (const name of ["addEventListener", "removeEventListener", "dispatchEvent"]) globalThis[name] = window[name].bind(window);
globalThis.document = window.document;
globalThis.Event = window.Event;
globalThis.CustomEvent = window.CustomEvent;
globalThis.WebSocket = WebSocket;
// There is no web server: the files that it fetches lie beside it.
globalThis.fetch = async (url) => new Response(await readFile(`${process.env.DIST}/${String(url).split("/").pop()}`));
// The page's own refuses the attribute xmlns:stream, which browsers write.
const escaped = (text) => text.replace(/&/g, "&amp;").replace(/</g, "&lt;").replace(/"/g, "&quot;");
globalThis.XMLSerializer = class {
  serializeToString(node) {
    if (node.nodeType === 3) return escaped(node.data);
    if (node.nodeType !== 1) return [...node.childNodes].map((child) => this.serializeToString(child)).join("");
    const attributes = [...node.attributes].map(({ name, value }) => ` ${name}="${escaped(value)}"`);
    const own = node.namespaceURI !== node.parentNode?.namespaceURI && !node.hasAttribute("xmlns") && !node.prefix;
    if (own && node.namespaceURI) attributes.unshift(` xmlns="${node.namespaceURI}"`);
    const children = [...node.childNodes].map((child) => this.serializeToString(child)).join("");
    return `<${node.nodeName}${attributes.join("")}>${children}</${node.nodeName}>`;
  }
};
Object.defineProperty(window.Element.prototype, "outerHTML", {
  get() {
    return new XMLSerializer().serializeToString(this);
  },
});
const { default: exported } = await import(`${process.env.DIST}/converse-headless.js`);
const converse = exported ?? globalThis.converse;
await converse.initialize({
  authentication: "login",
  auto_login: true,
  jid: process.env.JID + "/converse",
  password: process.env.PASSWORD,
  websocket_url: process.env.WEBSOCKET,
  discover_connection_methods: false,
  persistent_store: "none",
  i18n: "en",
});
