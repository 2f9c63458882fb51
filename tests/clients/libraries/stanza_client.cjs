// A client with StanzaJS over WebSockets, with all plug-ins that it has, as its documentation shows it.
const { createClient } = require("stanza");

const client = createClient({
  jid: process.env.JID,
  password: process.env.PASSWORD,
  resource: "stanza",
  transports: { websocket: process.env.WEBSOCKET, bosh: false },
});
client.on("session:started", () => {
  client.updateCaps();
  client.sendPresence({ legacyCapabilities: client.disco.getCaps() });
});
client.on("auth:failed", () => console.error("authentication failed"));
client.on("stream:error", (error) => console.error("stream error", error));
client.on("disconnected", () => console.error("disconnected"));
client.connect();
