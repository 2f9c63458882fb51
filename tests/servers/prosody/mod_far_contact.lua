-- For tests: contacts at far.example, whom a component plays, as if they came by the stream of another server.
--
-- luacheck: read globals module prosody

local jid_host = require "util.jid".host;

local gateway, far = "gateway.example.org", "far.example";

-- As mod_s2s does it, what is said to the origin of a stanza is routed like everything else.
local stream = { type = "s2sin", from_host = far, to_host = module.host };
function stream.send(stanza)
	return module:fire_event("route/remote", { from_host = module.host, to_host = far, stanza = stanza });
end

module:hook("presence/bare", function (event)
	if jid_host(event.stanza.attr.from) == far then event.origin = stream; end
end, 1000);

module:hook("route/remote", function (event)
	if event.to_host == far then return prosody.hosts[gateway].modules.component.session.send(event.stanza); end
end, -1);
