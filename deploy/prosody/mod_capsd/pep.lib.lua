-- The questions of mod_pep, which asks whoever announces something new to it: clients here, and contacts elsewhere.
--
-- luacheck: globals module, read globals prosody, max line length 140

local st = require "util.stanza";
local jid = require "util.jid";
local jid_bare, jid_host = jid.bare, jid.host;

local hosts, core_post_stanza = prosody.hosts, prosody.core_post_stanza;

local xmlns_disco_info = "http://jabber.org/protocol/disco#info";

-- `read(presence)` returns its announcement; `announced` has those of own sessions, `seen` those of contacts elsewhere.
local function new(read, announced, seen, answers)
	local pep = {};

	-- Its question comes from the bare address of an account, from which no client can send a query: what users send has their full
	-- addresses, and was decided before.
	local function is_question(stanza)
		local query, from = stanza.tags[1], stanza.attr.from;
		return stanza.name == "iq" and stanza.attr.type == "get" and query and query.attr.xmlns == xmlns_disco_info and from == jid_bare(from);
	end

	-- As the answer of whom it asks would come: after the presence that gave rise to the question.
	local function answer_later(stanza, answer, send)
		local reply = st.reply(stanza):add_child(answer);
		module:add_timer(0, function () send(reply); end);
	end

	local to_session = { patient = true, copy = st.clone };
	function to_session.respond(session, stanza, answer)
		answer_later(stanza, answer, function (reply)
			if not session.destroyed then core_post_stanza(session, reply); end
		end);
	end
	function to_session.send(session, copy)
		session.send(copy);
	end

	-- Takes a stanza that is about to be delivered to an own session, if it is such a question: no event precedes it. Returns whether it
	-- was taken.
	function pep.take(session, stanza)
		local announcement = announced[session];
		if not announcement or not is_question(stanza) or stanza.attr.to ~= session.full_jid then return false; end
		local asker = hosts[jid_host(stanza.attr.from)];
		return asker and asker.type == "local" and answers.take(stanza, stanza.tags[1], announcement, session, to_session) or false;
	end

	local elsewhere = { patient = true, copy = st.clone };
	function elsewhere.respond(_, stanza, answer)
		answer_later(stanza, answer, function (reply) module:send(reply); end);
	end
	function elsewhere.send(_, copy)
		module:fire_event("route/remote", { from_host = module.host, to_host = jid_host(copy.attr.to), stanza = copy });
	end

	local arriving;

	-- A presence of somebody else arrives for an account, upon which mod_pep may ask him.
	function pep.on_presence(stanza)
		arriving = stanza;
	end

	-- A stanza leaves for another server.
	function pep.on_route(event)
		local stanza = event.stanza;
		if stanza.attr.id ~= "disco" or not is_question(stanza) then return; end
		local to = stanza.attr.to;
		local announcement;
		if arriving and arriving.attr.from == to then
			announcement = read(arriving);
		else
			announcement = seen.get(to);
		end
		return announcement and answers.take(stanza, stanza.tags[1], announcement, hosts[module.host], elsewhere) or nil;
	end

	-- The answer of somebody elsewhere; that of an own client passes by before.
	function pep.on_answer(event)
		if event.origin.type ~= "c2s" then answers.passing(event.stanza, seen.get(event.stanza.attr.from)); end
	end

	return pep;
end

return { new = new };
