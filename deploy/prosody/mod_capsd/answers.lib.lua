-- Queries that are answered in the place of a client, or held until there is an answer (deploy/protocol.md section 7).
--
-- luacheck: globals module, read globals prosody, max line length 140

local st = require "util.stanza";
local new_cache = require "util.cache".new;
local now, monotonic = require "util.time".now, require "util.time".monotonic;
local new_queue = module:require "queue".new;

local hosts = prosody.hosts;

local xmlns_disco_info = "http://jabber.org/protocol/disco#info";

-- Reasons of capsd by which no answer of the client would be verified either.
local hopeless = {
	["ambiguous"] = true, ["ill-formed"] = true, ["legacy"] = true, ["unsupported-algorithm"] = true,
	["denied"] = true, ["malformed-node"] = true, ["too-large"] = true,
};
-- Why there is no word of capsd at all.
local lost = { ["timeout"] = true, ["absent"] = true, ["not now"] = true };
-- Seconds for which a content is used where capsd does not say; for which a key without an answer is not waited for again; and for which
-- an answer that was refused is not handed over again; and how long a patient query waits for the answer to another one at most.
local default_max_age, patience, refusal, most_patience = 300, 30, 60, 10;
-- Seconds after which what a session announced is looked up again, where it was not known: longer each time. capsd itself asks nobody again
-- who failed to answer, for ten minutes.
local first_pause, longest_pause = 30, 600;
-- Keys that are looked up, or contributed, at one time.
local most_flights, most_contributions = 512, 64;
-- Nodes of one content (URLs of clients that differ in nothing else) for which the answer is kept ready.
local most_forms = 8;
-- Between an address, an id and a node that are one key: no XML holds it.
local between = "\0";

-- `settings`: cache_size, hold, most_held, old_style. `listener.known(session, announcement, query)`: what that session announced is known;
-- `listener.count(name, label)` counts; `listener.waited(seconds)` tells how long a query was held.
local function new(settings, link, listener)
	local answers = {};
	local known = new_cache(settings.cache_size);
	local unanswerable, refused = new_cache(settings.cache_size), new_cache(settings.cache_size);
	local flights, flight_count, held_count = {}, 0, 0;
	local contributions, contribution_count = {}, 0;
	-- Queries that went their way for a flight: answerer, id and node → flight; and without the node, for answers that do not repeat it.
	local probes = {};
	-- What sessions announced and those inside the server want to know: key → { key, node, sessions = { session → announcement }, pause,
	-- timer, asking }.
	local wishes = {};
	-- Queries that are not to be held again.
	local released = setmetatable({}, { __mode = "k" });

	-- Held queries wait by a clock that counts a fortieth of the setting at most for a turn of the process: how long a turn takes is not the
	-- fault of who is to answer, and what came in it is read before the clock is looked at. It runs while anything is held.
	local clock, ticker = 0, nil;
	local tick = settings.hold / 80;
	local enough = settings.hold - 2 * tick;

	local function fresh(key)
		local content = known:get(key);
		if not content then return; end
		if content.expires <= now() then
			known:set(key, nil);
			return;
		end
		known:set(key, content); -- it is the most recently used now
		return content;
	end

	local function is_until(times, key)
		local time = times:get(key);
		return time and time > now();
	end

	-- The <query/> with a content, for that node as it was asked. The parts are shared between all answers: nobody changes them.
	local function answer_for(content, node)
		local form = content.forms[node or false];
		if form then return form; end
		form = st.stanza("query", { xmlns = xmlns_disco_info, ["xml:lang"] = content.lang, node = node });
		for _, tag in ipairs(content.tags) do form:add_direct_child(tag); end
		if content.form_count < most_forms then
			content.forms[node or false] = form;
			content.form_count = content.form_count + 1;
		end
		return form;
	end

	-- What is known of an announcement: the key of `node` counts first, then any other of the same announcement.
	local function find(announcement, node)
		local key = node and announcement.nodes[node] or announcement.key;
		local content = key and fresh(key);
		if not content and key ~= announcement.key then content = fresh(announcement.key); end
		return content, key;
	end

	-- Where a held query comes from. What came by the stream of another server or of a component is still wanted when that stream has ended,
	-- and the answer finds its own way; of a client that has gone nothing is.
	local function origin_of(item)
		if not item.origin.destroyed then return item.origin; end
		return not item.is_client and hosts[module.host] or nil;
	end

	-- Sends a held query on its way again, where it is answered if its key is known by now.
	local function resend(item)
		held_count = held_count - 1;
		listener.waited(now() - item.since);
		local origin = origin_of(item);
		if not origin then return; end
		-- Whatever another module has against this one, the others are sent on as well.
		local is_sent, fault = pcall(item.way.send, origin, item.stanza);
		if not is_sent then module:log("error", "A query that was held is lost, as a module failed: %s", fault); end
	end

	-- Sends everything that a flight holds on its way again.
	local function resend_all(flight, is_released)
		for item in flight.held.pop do
			if is_released then released[item.stanza] = true; end
			resend(item);
		end
	end

	local function close(flight)
		if flights[flight.key] ~= flight then return; end
		flights[flight.key] = nil;
		flight_count = flight_count - 1;
		for probe in pairs(flight.probes) do
			if probes[probe] == flight then probes[probe] = nil; end
		end
		resend_all(flight, not fresh(flight.key));
	end

	local pursue;

	-- Looks that up again in a while.
	local function postpone(wish)
		if wish.timer then return; end
		wish.timer = module:add_timer(wish.pause, function ()
			wish.timer = nil;
			if wishes[wish.key] == wish and link.usable then pursue(wish, next(wish.sessions)); end
		end);
		wish.pause = math.min(wish.pause * 2, longest_pause);
	end

	-- Ends a flight without a content.
	local function end_in_vain(flight, is_hopeless)
		if flights[flight.key] ~= flight then return; end
		close(flight);
		local wish = wishes[flight.key];
		if wish and not is_hopeless then postpone(wish); end
	end

	local function give_up(flight, is_hopeless)
		if flights[flight.key] ~= flight then return; end
		unanswerable:set(flight.key, now() + patience);
		end_in_vain(flight, is_hopeless);
	end

	local function forget_wish(wish)
		wishes[wish.key] = nil;
		if wish.timer then wish.timer:stop(); end
	end

	-- A content is known from now on, however that came: whoever waits for it has it.
	local function store(key, query, max_age)
		-- Else an identity without a language would have that of the stream by which it arrives, and a hash of XEP-0390 would not match.
		local lang = query.attr["xml:lang"] or "";
		local content = { tags = query.tags, lang = lang, expires = now() + (max_age or default_max_age), forms = {}, form_count = 0 };
		known:set(key, content);
		if flights[key] then close(flights[key]); end
		local wish = wishes[key];
		if not wish then return; end
		forget_wish(wish);
		for session, announcement in pairs(wish.sessions) do
			listener.known(session, announcement, answer_for(content, announcement.cached_as));
		end
	end

	-- A held query goes its way unchanged, and its answer counts for the flight.
	local function let_go(flight, item)
		flight.gone = true;
		released[item.stanza] = true;
		local probe = item.stanza.attr.to .. between .. item.stanza.attr.id;
		local exact = probe .. between .. (item.stanza.tags[1].attr.node or "");
		probes[probe], probes[exact] = flight, flight;
		flight.probes[probe], flight.probes[exact] = true, true;
		resend(item);
	end

	local function looked_up(flight, query, reason, max_age)
		if query then
			return store(flight.key, query, max_age);
		elseif flights[flight.key] ~= flight then
			return;
		elseif hopeless[reason] then
			return give_up(flight, true);
		end
		flight.asking = false;
		for item in flight.held.pop do
			if origin_of(item) then
				module:add_timer(most_patience, function () give_up(flight); end);
				return let_go(flight, item);
			end
			resend(item);
		end
		end_in_vain(flight);
	end

	local function open_flight(key, node, jid)
		local flight = { key = key, node = node, jid = jid, held = new_queue(), probes = {}, asking = true, asked_at = 0 };
		flights[key] = flight;
		flight_count = flight_count + 1;
		return flight;
	end

	local function ask(flight)
		link.lookup(flight.node, flight.jid, true, function (...) return looked_up(flight, ...); end);
	end

	local function expire(flight, item)
		-- Somebody who may answer has been asked: by one of those that were held, or by capsd.
		local is_asked = flight.gone or link.prompt;
		if item.way.patient and is_asked and now() - item.since < most_patience then
			item.clock = clock;
			flight.held.push(item);
		else
			listener.count("queries", "expired");
			let_go(flight, item);
		end
	end

	-- What has waited enough is the first.
	local function is_due(flight)
		local item = flight.held.peek();
		return item and clock - math.max(item.clock, flight.asked_at) >= enough;
	end

	local function start_clock()
		local last = monotonic();
		ticker = module:add_timer(tick, function ()
			local current = monotonic();
			clock, last = clock + math.min(current - last, 2 * tick), current;
			local due = {};
			for _, flight in pairs(flights) do
				if is_due(flight) then table.insert(due, flight); end
			end
			for _, flight in ipairs(due) do
				while flights[flight.key] == flight and is_due(flight) do expire(flight, flight.held.pop()); end
			end
			if held_count > 0 then return tick; end
			ticker = nil;
		end);
	end

	-- capsd's own question for that node of an announcement goes to a client now: those that wait for its answer may do so from now on.
	function answers.asked(announcement, node)
		local flight = flights[node and announcement.nodes[node] or announcement.key];
		if flight and flight.asked_at == 0 then flight.asked_at = clock; end
	end

	-- Takes a query, if it may be answered or held; returns whether it was. `way.respond(origin, stanza, answer)` sends an answer;
	-- `way.copy(stanza)` makes a copy of the query, and `way.send(origin, copy)` sends it on by the way that it came. Queries of a `patient`
	-- way wait on while another one is with the client: its answer will do for all of them, and the client would not answer them sooner.
	function answers.take(stanza, query, announcement, origin, way)
		local node = query.attr.node;
		if node == "" then node = nil; end
		if not link.usable or not announcement.key or node and not announcement.nodes[node] then return false; end
		if not (announcement.new or settings.old_style) then return false; end
		local content, key = find(announcement, node);
		if content then
			listener.count("queries", "answered");
			way.respond(origin, stanza, answer_for(content, query.attr.node));
			return true;
		end
		local flight = flights[key];
		if released[stanza] or not link.prompt or settings.hold == 0 or is_until(unanswerable, key)
		or not flight and flight_count >= most_flights then
			listener.count("queries", "passed");
			return false;
		elseif held_count >= settings.most_held then
			listener.count("limits", "held");
			listener.count("queries", "passed");
			return false;
		end
		local is_new = not flight;
		flight = flight or open_flight(key, node or announcement.node, stanza.attr.to);
		-- Whoever handles the stanza may change it afterwards, as rooms do: the copy stays.
		flight.held.push({
			stanza = way.copy(stanza), origin = origin, is_client = origin.type == "c2s", way = way, since = now(), clock = clock;
		});
		held_count = held_count + 1;
		listener.count("queries", "held");
		if not ticker then start_clock(); end
		if is_new then ask(flight); end
		return true;
	end

	function pursue(wish, session)
		local flight = flights[wish.key];
		if not flight then
			if flight_count >= most_flights then return postpone(wish); end
			return ask(open_flight(wish.key, wish.node, session.full_jid));
		elseif flight.asking or wish.asking then
			return;
		end
		-- A question is with a client that may never answer, but this session may.
		wish.asking = true;
		link.lookup(wish.node, session.full_jid, true, function (query, _, max_age)
			wish.asking = nil;
			if query then store(wish.key, query, max_age); end
		end);
	end

	-- Finds out what a session of this host announced, for those inside the server who want to know; now, or when it becomes known.
	function answers.learn(session, announcement)
		local key = announcement.key;
		if not link.usable or not key then return; end
		local content = fresh(key);
		if content then return listener.known(session, announcement, answer_for(content, announcement.cached_as)); end
		local wish = wishes[key];
		if not wish then
			wish = { key = key, node = announcement.node, sessions = {}, pause = first_pause };
			wishes[key] = wish;
		end
		wish.sessions[session] = announcement;
		pursue(wish, session);
	end

	-- That session announces something else, or has ended.
	function answers.forget(session, announcement)
		local wish = wishes[announcement.key];
		if not wish then return; end
		wish.sessions[session] = nil;
		if not next(wish.sessions) then forget_wish(wish); end
	end

	local function contribute(key, node, jid, query, lang, flight)
		contributions[key] = true;
		contribution_count = contribution_count + 1;
		local function finish(content, cause, max_age)
			contributions[key] = nil;
			contribution_count = contribution_count - 1;
			if cause and lost[cause] then
				-- Nobody has judged it.
				if flight then end_in_vain(flight); end
				return;
			elseif content then
				store(key, content, max_age);
			else
				refused:set(key .. "\n" .. jid, now() + refusal);
			end
			listener.count("contributions", content and "accepted" or "refused");
			if flight then give_up(flight); end
		end
		link.contribute(node, jid, query, lang, function (is_known, cause)
			if not is_known then return finish(nil, cause); end
			-- What passed by may hold more than its hash covers.
			link.lookup(node, jid, false, finish);
		end);
	end

	-- An answer or an error passes by. `announcement` is what its sender announced, if anything.
	function answers.passing(stanza, announcement)
		local from = stanza.attr.from;
		if not stanza.attr.id then return; end
		local probe = from .. between .. stanza.attr.id;
		local query = stanza:get_child("query", xmlns_disco_info);
		local node = query and query.attr.node or "";
		local flight = probes[probe .. between .. node] or node == "" and probes[probe];
		if stanza.attr.type == "error" then
			flight = flight or probes[probe];
			if flight then give_up(flight); end
			return;
		end
		if not query then return; end
		local key = announcement and announcement.nodes[node];
		if not key and flight then
			-- If it announced something else meanwhile, the answer is rather that.
			local meant = announcement and announcement.key and announcement or flight;
			node, key = meant.node, meant.key;
		end
		if not key or not link.usable or contributions[key] then return; end
		if fresh(key) or is_until(refused, key .. "\n" .. from) then
			if flight then give_up(flight); end
			return;
		end
		if contribution_count >= most_contributions then
			listener.count("limits", "contributions");
			return;
		end
		if flight and not link.prompt then
			-- Nobody waits for what capsd will say about it.
			end_in_vain(flight);
			flight = nil;
		end
		contribute(key, node, from, query, stanza.attr["xml:lang"], flight);
	end

	-- Is anything awaited that an error could end?
	function answers.has_probes()
		return next(probes) ~= nil;
	end

	-- What is kept may be wrong by now.
	function answers.withdraw()
		for _, kept in ipairs { known, unanswerable, refused } do kept:clear(); end
	end

	-- Everything that is held goes its way, and nothing is looked up any more.
	function answers.release()
		for _, wish in pairs(wishes) do
			if wish.timer then wish.timer:stop(); end
		end
		wishes = {};
		local open = flights;
		flights, flight_count, probes = {}, 0, {};
		for _, flight in pairs(open) do
			resend_all(flight, true);
		end
	end

	function answers.sizes()
		return known:count(), held_count;
	end

	return answers;
end

return { new = new };
