-- For tests: a module that consumes session.caps_cache as community modules do, and says what it and the server see.
--
-- luacheck: read globals module prosody

local st = require "util.stanza";

local xmlns = "urn:example:caps-watch";
local changes = {};

module:hook("c2s-capabilities-changed", function (event)
	local jid = event.origin.full_jid;
	changes[jid] = (changes[jid] or 0) + 1;
end);

module:hook("iq-get/host/" .. xmlns .. ":watch", function (event)
	local reply = st.reply(event.stanza):tag("watch", { xmlns = xmlns });
	for jid, session in pairs(prosody.full_sessions) do
		local filters = session.filters and session.filters["stanzas/out"] or {};
		reply:tag("session", { jid = jid, changes = tostring(changes[jid] or 0), filters = tostring(#filters) });
		if session.caps_cache then reply:add_child(session.caps_cache); end
		reply:up();
	end
	event.origin.send(reply);
	return true;
end);
