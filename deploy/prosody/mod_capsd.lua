-- mod_capsd: answers disco#info queries for clients from capsd, a shared and verified cache of entity capabilities.
--
-- Summary, options, statistics and compatibility: README.md beside this file. The rules: deploy/protocol.md of capsd,
-- sections 6 and 7.
--
-- This file decides who is told what. In mod_capsd/, announcements.lib.lua reads presences, seen.lib.lua looks at those
-- that pass by, answers.lib.lua answers and holds queries, pep.lib.lua knows those of mod_pep, link.lib.lua speaks with
-- capsd, and queue.lib.lua is the queue that they use.
--
-- luacheck: globals module, read globals prosody, max line length 140

local filters = require "util.filters";
local st = require "util.stanza";
local jid = require "util.jid";
local jid_bare, jid_host, jid_node = jid.bare, jid.host, jid.node;
local xml_escape = st.xml_escape;

local announcements = module:require "announcements";
local new_link = module:require "link".new;
local new_answers = module:require "answers".new;
local new_seen = module:require "seen".new;
local new_pep = module:require "pep".new;
local read, heard_from = announcements.read, announcements.heard_from;

local hosts, full_sessions = prosody.hosts, prosody.full_sessions;
local core_post_stanza = prosody.core_post_stanza;

local xmlns_disco_info = "http://jabber.org/protocol/disco#info";
local xmlns_muc = "http://jabber.org/protocol/muc";

-- Below every module that blocks, limits or rewrites, so that a query that one of them stops never comes here; above mod_iq, which
-- delivers at 0, and where mod_firewall decides, at 0.1.
local after_checks = 0.05;
local after_own_checks = -10;
-- Before mod_pep (10) and mod_presence (0) act on a presence of an own user.
local before_pep = 20;
-- After whatever else may drop a stanza, but before mod_smacks (-999) counts it as sent.
local last_filter = -900;

local cancellations = { ["unsubscribe"] = true, ["unsubscribed"] = true };

local stop, settings; -- while the module is at work

-- Statistics

local queries = module:metric("counter", "queries", "", "disco#info queries to clients that could be answered", { "result" });
local contributions = module:metric("counter", "contributions", "", "Answers of clients handed over to capsd", { "result" });
local reports = module:metric("counter", "reports", "", "Addresses reported to capsd", { "kind" });
local limits = module:metric("counter", "limits", "", "Bounds of the module that were hit", { "limit" });
local wait = module:metric("histogram", "hold", "seconds", "How long queries were held", {}, {
	buckets = { 0.005, 0.02, 0.1, 0.4, 0.8, 2 };
}):with_labels();
local usable = module:metric("gauge", "usable", "", "Whether a capsd answers", {}):with_labels();
local cached = module:metric("gauge", "cached", "", "Contents kept in this module", {}):with_labels();
local held = module:metric("gauge", "held", "", "Queries held at this moment", {}):with_labels();

local counters = { queries = {}, contributions = {}, reports = {}, limits = {} };
for name, labels in pairs {
	queries = { "answered", "held", "expired", "passed" }; contributions = { "accepted", "refused" };
	reports = { "holder", "gone" }; limits = { "held", "heard", "seen", "reports", "contributions" };
} do
	local family = ({ queries = queries, contributions = contributions, reports = reports, limits = limits })[name];
	for _, label in ipairs(labels) do
		counters[name][label] = family:with_labels(label);
		counters[name][label]:add(0);
	end
end

local function count(name, label)
	counters[name][label]:add(1);
end

-- Options

-- A number within its bounds; what is out of them is refused, and said.
local function number_option(name, default, min, max)
	local value = module:get_option_number(name, default);
	if value and value >= min and value <= max then return value; end
	module:log("error", "%s must be a number from %g to %g; %g is used", name, min, max, default);
	return default;
end

local function read_settings()
	local answer = module:get_option_string("capsd_answer", "announced");
	if answer ~= "announced" and answer ~= "subscribed" then
		module:log("error", "capsd_answer must be \"announced\" or \"subscribed\"; the narrower, \"subscribed\", is used");
		answer = "subscribed";
	end
	return {
		enabled = module:get_option_boolean("capsd_enabled", true);
		components = module:get_option_array("capsd_component", { "caps." .. module.host });
		answer = answer;
		old_style = module:get_option_boolean("capsd_0115", true);
		hold = number_option("capsd_hold", 0.8, 0, 10);
		cache_size = number_option("capsd_cache_size", 500, 1, 100000);
		most_held = number_option("capsd_max_held", 10000, 0, 1000000);
		most_heard = number_option("capsd_max_heard", 5000, 0, 1000000);
		most_seen = number_option("capsd_max_seen", 20000, 1, 10000000);
		most_reports = number_option("capsd_max_reports", 100000, 1000, 10000000);
		stanza_size = number_option("capsd_stanza_size", 65536, 4096, 262144);
		retry = number_option("capsd_retry", 5, 1, 300);
	};
end

local function start()
	local own_settings = settings;
	-- Of sessions of this host: the announcement that was routed last; the one that capsd was told; and what was announced to whom, other
	-- than to sessions of this server, which know it themselves: { count, to = { bare JID → announcement }, rooms = { bare JID → true },
	-- only = { bare JID → full JID } }, the last where one client of the account was told and not all.
	local announced, reported, directed = {}, {}, {};
	for _, of_session in ipairs { announced, reported, directed } do setmetatable(of_session, { __mode = "k" }); end
	-- What session.caps_cache was set to here.
	local filled = setmetatable({}, { __mode = "k" });
	local link, answers, pep;

	local function is_own(session)
		return session.type == "c2s" and session.host == module.host and full_sessions[session.full_jid] == session;
	end

	-- Whether that is an address of a user of this server whose host has this module, which reports it and decides who is told.
	local function is_of_module(address)
		local host = hosts[jid_host(address)];
		return host and host.type == "local" and host.modules.capsd and true;
	end

	local seen = new_seen(announcements, own_settings, is_of_module, function (address) link.report(address); end, count);

	-- For the link: what is to be told of an address, and whether capsd may ask it.
	local source = {};
	function source.holder(address)
		local session = full_sessions[address];
		if session and reported[session] then
			-- A session that waits to be resumed (XEP-0198) would answer much later.
			return reported[session], not session.hibernating;
		end
		return seen.get(address), false;
	end
	function source.holders()
		return coroutine.wrap(function ()
			for session in pairs(reported) do coroutine.yield(session.full_jid); end
			for address in seen.items() do coroutine.yield(address); end
		end);
	end

	-- Own sessions

	local function set_caps_cache(session, query)
		filled[session] = query;
		session.caps_cache = query;
		module:fire_event("c2s-capabilities-changed", { origin = session });
	end

	local function set_announcement(session, announcement)
		local before = announced[session];
		if announcement == before then return; end
		announced[session] = announcement;
		if before and before.key then answers.forget(session, before); end
		if filled[session] then
			if session.caps_cache == filled[session] then session.caps_cache = nil; end
			filled[session] = nil;
		end
		-- A presence without <c/> says nothing about keys; but nobody is answered from what it does not repeat.
		if not announcement then return; end
		reported[session] = announcement;
		link.report(session.full_jid);
		-- Those who want to know expect that the presence is in session.presence.
		module:add_timer(0, function ()
			if announced[session] == announcement then answers.learn(session, announcement); end
		end);
	end

	local function end_session(session)
		seen.forget_all(session);
		local announcement = announced[session];
		if announcement and announcement.key then answers.forget(session, announcement); end
		announced[session], directed[session], filled[session] = nil, nil, nil;
		if reported[session] then
			reported[session] = nil;
			link.report(session.full_jid);
		end
	end

	local function forget_directed(told, bare)
		if not told.to[bare] then return; end
		told.count = told.count - 1;
		told.to[bare], told.rooms[bare], told.only[bare] = nil, nil, nil;
	end

	-- A subscription has ended, in either direction: the two are strangers to each other, and what they said counts no more. Servers do not
	-- tell all of them that the other one is unavailable.
	local function on_cancellation(username, bare)
		local user = hosts[module.host].sessions[username];
		for _, session in pairs(user and user.sessions or {}) do
			if directed[session] then forget_directed(directed[session], bare); end
			seen.forget_bare(session, bare);
		end
	end

	local function on_own_cancellation(event)
		local session, stanza = event.origin, event.stanza;
		local to, kind = stanza.attr.to, stanza.attr.type;
		if kind and cancellations[kind] and to and is_own(session) then on_cancellation(session.username, jid_bare(to)); end
	end

	local function on_removal(event)
		on_cancellation(event.username, event.jid);
	end

	local function on_presence_to_account(event)
		local session, stanza = event.origin, event.stanza;
		local to, kind = stanza.attr.to, stanza.attr.type;
		if to then
			pep.on_presence(stanza);
			if kind and cancellations[kind] then on_cancellation(jid_node(to), jid_bare(stanza.attr.from)); end
		elseif kind == nil and is_own(session) then
			set_announcement(session, read(stanza));
		elseif kind == "unavailable" and session.host == module.host then
			end_session(session);
		end
	end

	-- Presence to somebody, by itself or as a part of a broadcast. Nothing stops it any more.
	local function on_presence_to(event)
		local session, stanza = event.origin, event.stanza;
		local to, kind = stanza.attr.to, stanza.attr.type;
		if not to or kind ~= nil and kind ~= "unavailable" or not is_own(session) then return; end
		local announcement = kind == nil and read(stanza) or nil;
		-- What the server repeats to those who come later is not what was said last.
		if announcement and stanza ~= session.presence then set_announcement(session, announcement); end
		local host = hosts[jid_host(to)];
		if host and host.type == "local" then return; end
		local bare, told = jid_bare(to), directed[session];
		if not announcement then
			if told then forget_directed(told, bare); end
			-- Who leaves a room gets no answer of it any more, however long the room takes to say so.
			if kind == "unavailable" and to ~= bare then seen.forget_bare(session, bare); end
			return;
		end
		if not told then
			told = { count = 0, to = {}, rooms = {}, only = {} };
			directed[session] = told;
		end
		local before = told.to[bare];
		if not before then
			if told.count >= own_settings.most_heard then return count("limits", "heard"); end
			told.count = told.count + 1;
		end
		-- Only the presence that enters a room says that it is one; it is for all who are there.
		if stanza:get_child("x", xmlns_muc) then told.rooms[bare] = true; end
		if to == bare or told.rooms[bare] then
			told.only[bare] = nil;
		elseif before ~= announcement or told.only[bare] then
			told.only[bare] = to;
		end
		told.to[bare] = announcement;
	end

	local function on_end(event)
		end_session(event.session);
	end

	local function on_hibernation(event)
		local session = event.resumed or event.origin;
		if reported[session] then link.report(session.full_jid); end
	end

	-- The three ways of a query: how it is answered, and how a copy of it goes on.

	local on_stanza_out;
	local serialized = setmetatable({}, { __mode = "k" });

	-- To write out sixty features takes longer than everything else about an answer. Where no other filter wants to see what the client
	-- receives (mod_smacks does, for most clients), the text is used again.
	local function respond(origin, stanza, answer)
		local out = origin.type == "c2s" and origin.rawsend and origin.filters and origin.filters["stanzas/out"];
		if not out or out[1] ~= on_stanza_out or out[2] then
			return origin.send(st.reply(stanza):add_child(answer));
		end
		local text = serialized[answer];
		if not text then
			text = tostring(answer) .. "</iq>";
			serialized[answer] = text;
		end
		local attr = stanza.attr;
		return origin.rawsend("<iq type='result' id='" .. xml_escape(attr.id) .. "' from='" .. xml_escape(attr.to)
			.. "' to='" .. xml_escape(attr.from) .. "'>" .. text);
	end

	local to_own = { respond = respond, copy = announcements.copy, send = core_post_stanza };
	local from_own = { respond = respond, copy = st.clone };
	function from_own.send(origin, copy)
		core_post_stanza(origin, copy, true);
	end

	-- What clients receive

	function on_stanza_out(stanza, session)
		if stanza.name == "presence" then
			local left = seen.on_presence(session, stanza);
			if left and directed[session] then forget_directed(directed[session], left); end
		elseif stanza.attr.id == "disco" and stanza.name == "iq" and pep.take(session, stanza) then
			return nil;
		end
		return stanza;
	end

	local function add_filter(session)
		filters.add_filter(session, "stanzas/out", on_stanza_out, last_filter);
	end

	local function on_bind(event)
		add_filter(event.session);
	end

	-- A resumed session has the filters of its new connection.
	local function on_resumption(event)
		local session = event.resumed or event.session;
		if session and session.host == module.host and session.full_jid then add_filter(session); end
	end

	-- Who may be answered

	-- capsd asks from its own address, or by XEP-0356 from the user's with an id of its own kind.
	local function is_capsd(asker, id, asked)
		for _, component in ipairs(own_settings.components) do
			if asker == component then return true; end
		end
		return #id == 32 and not id:find("[^0-9a-f]") and asker == jid_bare(asked);
	end

	local function find_room(room_jid)
		local host = hosts[jid_host(room_jid)];
		local muc = host and host.modules.muc;
		return muc and muc.get_room_from_jid(room_jid);
	end

	-- Whether those in the room are told of him, as far as this server knows: a room may show some roles to nobody.
	local function is_shown(room_jid, target)
		local room = find_room(room_jid);
		local occupant = room and room:get_occupant_by_real_jid(target.full_jid);
		return not room or occupant and room:get_presence_broadcast()[occupant.role];
	end

	-- What the asker was told last by that session of this host, if the asker may be answered.
	local function told_by(target, stanza, origin)
		local is_in_room, heard = announcements.heard_by_asker(stanza);
		if is_in_room then return heard; end
		local asker = stanza.attr.from;
		local bare = jid_bare(asker);
		local own = target.username .. "@" .. target.host;
		-- The server's own questions, and those of mod_pep.
		if asker == module.host or asker == own then return announced[target]; end
		local contact = target.roster and target.roster[bare];
		local subscribed = bare == own or contact and (contact.subscription == "both" or contact.subscription == "from");
		if origin.full_jid == asker then
			return (subscribed or own_settings.answer == "announced") and heard_from(origin, target.full_jid);
		end
		-- A subscription alone does not tell that the presence reached him: a rule may have stopped it, or it was sent to others alone.
		local told = directed[target];
		if not told or told.only[bare] and told.only[bare] ~= asker then return; end
		if told.rooms[bare] and not is_shown(bare, target) then return; end
		if subscribed or told.rooms[bare] or own_settings.answer == "announced" then return told.to[bare]; end
	end

	local function on_iq_to_own(event)
		local stanza, origin = event.stanza, event.origin;
		local kind, query = stanza.attr.type, stanza.tags[1];
		if kind == "get" then
			if not query or query.attr.xmlns ~= xmlns_disco_info or query.name ~= "query" then return; end
			local target = full_sessions[stanza.attr.to];
			local announcement = target and announced[target];
			-- Other servers and components may send queries without an id, to which there is no answer.
			if not announcement or not stanza.attr.id then return; end
			if is_capsd(stanza.attr.from, stanza.attr.id, stanza.attr.to) then return answers.asked(announcement, query.attr.node); end
			local told = told_by(target, stanza, origin);
			if not told or told.id ~= announcement.id then return; end
			return answers.take(stanza, query, told, origin, to_own) or nil;
		elseif kind == "result" and query and query.attr.xmlns == xmlns_disco_info or kind == "error" and answers.has_probes() then
			local asker = full_sessions[stanza.attr.to];
			answers.passing(stanza, asker and heard_from(asker, stanza.attr.from));
		end
	end

	-- Whether that occupant of a room of this server is a user of a host where this module decides, behind the checks of the room and
	-- those of the user.
	local function is_own_occupant(occupant_jid)
		local room = find_room(jid_bare(occupant_jid));
		local occupant = room and room:get_occupant_by_nick(occupant_jid);
		return room and (not occupant or is_of_module(occupant.jid));
	end

	local function on_answer_from_own(event)
		local stanza = event.stanza;
		local kind, query = stanza.attr.type, stanza.tags[1];
		if kind == "result" and query and query.attr.xmlns == xmlns_disco_info or kind == "error" and answers.has_probes() then
			-- What capsd asked for, it has. (Without an address it goes to the account of its sender.)
			local to = stanza.attr.to or jid_bare(stanza.attr.from);
			if not stanza.attr.id or is_capsd(to, stanza.attr.id, stanza.attr.from) then return; end
			answers.passing(stanza, announced[event.origin]);
		end
	end

	local function on_iq_from_own(event)
		local stanza, origin = event.stanza, event.origin;
		if stanza.attr.type == "get" then
			local query = stanza.tags[1];
			if not query or query.attr.xmlns ~= xmlns_disco_info or query.name ~= "query" then return; end
			local to = stanza.attr.to;
			-- A user of this server: decided where the query would be delivered.
			local host = hosts[jid_host(to)];
			if host and host.type == "local" then return; end
			if host and is_own_occupant(to) then return announcements.ask(stanza, origin); end
			local announcement = heard_from(origin, to);
			if not announcement then return; end
			if own_settings.answer == "subscribed" and not announcement.room then
				local contact = origin.roster and origin.roster[jid_bare(to)];
				if not contact or contact.subscription ~= "both" and contact.subscription ~= "to" then return; end
			end
			return answers.take(stanza, query, announcement, origin, from_own) or nil;
		else
			on_answer_from_own(event);
		end
	end

	local function on_iq_to_host(event)
		local kind = event.stanza.attr.type;
		if kind ~= "get" and kind ~= "set" and link.receive(event.stanza) then return true; end
	end

	-- Who changes what is blocked does not receive everything: what was heard may be out of date then.
	local function on_block(event)
		if event.stanza.attr.to or event.stanza.attr.type ~= "set" then return; end
		local user = hosts[module.host].sessions[event.origin.username or ""];
		for _, session in pairs(user and user.sessions or {}) do seen.forget_all(session); end
	end

	local function each_session(callback)
		for _, user in pairs(hosts[module.host].sessions) do
			for _, session in pairs(user.sessions) do callback(session); end
		end
	end

	local listener = { count = count };
	function listener.ready()
		usable:set(1);
		for session, announcement in pairs(announced) do
			if not filled[session] then answers.learn(session, announcement); end
		end
	end
	function listener.lost()
		usable:set(0);
		answers.release();
	end
	function listener.withdrawn()
		answers.withdraw();
	end
	function listener.known(session, announcement, query)
		if announced[session] == announcement and session.caps_cache ~= query then set_caps_cache(session, query); end
	end
	function listener.waited(seconds)
		wait:sample(seconds);
	end

	link = new_link(settings, source, listener);
	answers = new_answers(settings, link, listener);
	pep = new_pep(read, announced, seen, answers);

	local hooks = {
		{ "resource-bind", on_bind };
		{ "resource-unbind", on_end, 10 };
		{ "smacks-hibernation-start", on_hibernation };
		{ "smacks-hibernation-end", on_hibernation };
		{ "smacks-hibernation-end", on_resumption };
		{ "presence/bare", on_presence_to_account, before_pep };
		{ "roster-item-removed", on_removal };
		-- mod_presence acts on these at 0, and nothing follows.
		{ "pre-presence/full", on_own_cancellation, 1 };
		{ "pre-presence/bare", on_own_cancellation, 1 };
		{ "pre-presence/full", on_presence_to, after_own_checks };
		{ "pre-presence/bare", on_presence_to, after_own_checks };
		{ "pre-presence/host", on_presence_to, after_own_checks };
		{ "iq/full", on_iq_to_own, after_checks };
		{ "pre-iq/full", on_iq_from_own, after_own_checks };
		{ "pre-iq/bare", on_answer_from_own, after_own_checks };
		{ "iq/host", on_iq_to_host, 5 };
		{ "route/remote", pep.on_route, 10 };
		{ "iq-result/bare/disco", pep.on_answer, 1 };
		{ "iq-error/bare/disco", pep.on_answer, 1 };
		{ "iq-set/self/urn:xmpp:blocking:block", on_block };
		{ "iq-set/self/urn:xmpp:blocking:unblock", on_block };
		-- mod_privacy_lists acts at 0, and no other event follows.
		{ "iq/bare/jabber:iq:privacy:query", on_block, 1 };
	};
	for _, hook in ipairs(hooks) do module:hook(hook[1], hook[2], hook[3]); end
	module:hook_global("c2s-session-updated", on_resumption);
	local function on_statistics()
		local contents, waiting = answers.sizes();
		cached:set(contents);
		held:set(waiting);
	end
	module:hook_global("stats-update", on_statistics);

	each_session(function (session)
		add_filter(session);
		local announcement = session.presence and read(session.presence);
		announced[session], reported[session] = announcement, announcement;
	end);
	link.open();

	function stop()
		for _, hook in ipairs(hooks) do module:unhook(hook[1], hook[2]); end
		module:unhook_object_event(prosody.events, "c2s-session-updated", on_resumption);
		module:unhook_object_event(prosody.events, "stats-update", on_statistics);
		link.close();
		each_session(function (session)
			filters.remove_filter(session, "stanzas/out", on_stanza_out);
			seen.forget_all(session);
			if filled[session] and session.caps_cache == filled[session] then session.caps_cache = nil; end
		end);
		usable:set(0);
		answers.release();
		stop = nil;
	end
end

local function load_settings()
	local before = settings;
	settings = read_settings();
	return before;
end

-- Whether two sets of options are the same.
local function is_equal(one, other)
	for name, value in pairs(one) do
		if name == "components" then
			if table.concat(value, "\n") ~= table.concat(other.components, "\n") then return false; end
		elseif value ~= other[name] then
			return false;
		end
	end
	return true;
end

function module.load()
	load_settings();
	if settings.enabled then start(); end
end

function module.unload()
	if stop then stop(); end
end

-- The options take effect with a reload of the configuration; `capsd_enabled = false` puts everything back as if the module was not there.
module:hook_global("config-reloaded", function ()
	local before = load_settings();
	if is_equal(before, settings) then return; end
	if stop then stop(); end
	if settings.enabled then start(); end
	module:log("info", settings.enabled and "works with new options" or "is switched off by capsd_enabled");
end);
