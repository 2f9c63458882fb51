// A client with Strophe.js and its plug-ins for disco and caps.
const { JSDOM } = require("jsdom");
const { window } = new JSDOM("", { url: "https://example.org/" });
globalThis.window = globalThis;
globalThis.document = window.document;
globalThis.DOMParser = window.DOMParser;
globalThis.XMLSerializer = window.XMLSerializer;
globalThis.WebSocket = require("ws");
const { Strophe, $pres } = require("strophe.js");
globalThis.Strophe = Strophe;
globalThis.$pres = $pres;
require("strophejs-plugin-disco");
require("strophejs-plugin-caps");

const connection = new Strophe.Connection(process.env.WEBSOCKET);
connection.disco.addIdentity("client", "web", "Strophe.js");
connection.connect(`${process.env.JID}/strophe`, process.env.PASSWORD, (status, why) => {
  console.error("status", status, why);
  if (status === Strophe.Status.CONNECTED) connection.send($pres().c("c", connection.caps.generateCapsAttrs()));
});
