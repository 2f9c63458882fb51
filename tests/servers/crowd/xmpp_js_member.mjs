// A client with xmpp.js. The library has neither caps nor disco#info, so that both are done here as a careful client does them: it
// announces what it answers (XEP-0115), and asks for each node that it does not know once.
import { createHash } from "node:crypto";
import { client, xml } from "@xmpp/client";

const { JID, PASSWORD, PORT, ROOM } = process.env;
const [user, domain] = JID.split("@");
const INFO = "http://jabber.org/protocol/disco#info";
const CAPS = "http://jabber.org/protocol/caps";
const NODE = "https://github.com/xmppjs/xmpp.js";
const identity = { category: "client", type: "bot", name: "xmpp.js" };
const features = [CAPS, INFO, "http://jabber.org/protocol/muc", "urn:xmpp:ping", "urn:xmpp:time"].sort();
const text = `${identity.category}/${identity.type}//${identity.name}<` + features.map((feature) => `${feature}<`).join("");
const ver = createHash("sha1").update(text).digest("base64");
const caps = () => xml("c", { xmlns: CAPS, hash: "sha-1", node: NODE, ver });

const xmpp = client({ service: `xmpp://127.0.0.1:${PORT}`, domain, resource: "xmppjs", username: user, password: PASSWORD });
xmpp.timeout = 60_000; // it may have to wait until all others are there
xmpp.on("error", (error) => console.error(error));
xmpp.iqCallee.get(INFO, "query", ({ element }) =>
  xml(
    "query",
    { xmlns: INFO, ...(element.attrs.node && { node: element.attrs.node }) },
    xml("identity", identity),
    features.map((feature) => xml("feature", { var: feature })),
  ),
);
const seen = new Set([`${NODE}#${ver}`]);
xmpp.on("stanza", (stanza) => {
  const c = stanza.is("presence") && !stanza.attrs.type ? stanza.getChild("c", CAPS) : undefined;
  const node = c && `${c.attrs.node}#${c.attrs.ver}`;
  if (!c || seen.has(node)) return;
  seen.add(node);
  xmpp.iqCaller.request(xml("iq", { type: "get", to: stanza.attrs.from }, xml("query", { xmlns: INFO, node }))).catch(() => {});
});
xmpp.on("online", async () => {
  await xmpp.send(xml("presence", {}, caps()));
  await xmpp.send(xml("presence", { to: `${ROOM}/${user}` }, caps(), xml("x", { xmlns: "http://jabber.org/protocol/muc" })));
});
await xmpp.start();
