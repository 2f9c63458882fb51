-- For tests: a module that consumes session.caps_cache as community modules do, says what it and the server see,
-- keeps the server busy, ends sessions, and fails.
--
-- luacheck: read globals module prosody

local st = require "util.stanza";
local now = require "util.time".now;

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

-- So many turns of the server last so many seconds each.
module:hook("iq-set/host/" .. xmlns .. ":busy", function (event)
	local attr = event.stanza.tags[1].attr;
	local turns, seconds = tonumber(attr.turns), tonumber(attr.seconds);
	module:add_timer(0, function ()
		local time = now();
		repeat until now() - time >= seconds;
		turns = turns - 1;
		return turns > 0 and 0 or nil;
	end);
	event.origin.send(st.reply(event.stanza));
	return true;
end);

-- Ends the session of whoever asks for it, as Prosody does when a client does not answer any more.
module:hook("iq-set/host/" .. xmlns .. ":end", function (event)
	event.origin:close({ condition = "connection-timeout" });
	return true;
end);

-- Fails when such a stanza comes for the second time.
local failing = 0;
module:hook("iq/full", function (event)
	if event.stanza.attr.id ~= "fails" or event.stanza.attr.type ~= "get" then return; end
	failing = failing + 1;
	if failing == 2 then error("as the test wants it"); end
end, 1);
