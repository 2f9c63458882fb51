// A client with xmpp.js as its documentation shows it. The library has neither caps nor disco#info.
import { client, xml } from "@xmpp/client";

const xmpp = client({
  service: `xmpp://127.0.0.1:${process.env.PORT}`,
  domain: process.env.JID.split("@")[1],
  resource: "xmppjs",
  username: process.env.JID.split("@")[0],
  password: process.env.PASSWORD,
});
xmpp.on("error", (error) => console.error(error));
xmpp.on("online", () => xmpp.send(xml("presence")));
await xmpp.start();
