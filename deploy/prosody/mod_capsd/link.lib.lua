-- The way to capsd: which component is used, the feed (deploy/protocol.md section 6), look-ups and contributions.
--
-- luacheck: globals module, read globals prosody, max line length 140

local st = require "util.stanza";
local new_token = require "util.id".short;
local new_queue = module:require "queue".new;

local hosts = prosody.hosts;

local xmlns_capsd = "urn:capsd:0";
local xmlns_disco_info = "http://jabber.org/protocol/disco#info";

-- Seconds until a request counts as not answered. A look-up that waits takes as long as capsd's own deadline at most.
local answer_timeout = 10;
-- Elements in one feed, by the protocol.
local most_elements = 256;

-- `settings`: components, stanza_size, retry, most_reports, hold. `source.holder(jid)` returns what an address announces now and whether it
-- may be asked, `source.holders()` iterates over all addresses that announce something. `listener.ready()` and `listener.lost()` tell of
-- changes, `listener.withdrawn()` that what capsd said until now may be wrong; `listener.count(name, label)` counts.
local function new(settings, source, listener)
	-- `usable`: capsd answers. `prompt`: it did so lately, so that queries may be held for it.
	local link = { usable = false, prompt = false };
	local peers, current, epoch = {}, nil, nil;
	-- Seconds within which capsd answers what it answers at once. Twice that has passed before anybody was held for too long.
	local promptness = settings.hold / 3;
	local pending, token, serial = {}, new_token(), 0;
	-- Addresses of which something is to be told: jid → the queue that it is in. What is new comes before what is told anew.
	local dirty, dirty_count, live, anew = {}, 0, new_queue(), new_queue();
	-- Whether the next part of the feed is the first of all that is told anew: what was told before holds no more then.
	local begins = false;

	local function is_connected(peer)
		local host = hosts[peer.jid];
		local component = host and host.modules and host.modules.component;
		return not peer.down and component and component.connected or false;
	end

	local function ask(peer, kind, payload, callback)
		serial = serial + 1;
		local id = "capsd-" .. token .. "-" .. serial;
		local request = { peer = peer, callback = callback };
		pending[id] = request;
		request.timer = module:add_timer(answer_timeout, function ()
			pending[id] = nil;
			callback(nil, "timeout");
		end);
		module:send(st.iq({ type = kind, id = id, from = module.host, to = peer.jid }):add_child(payload));
	end

	-- What was kept of another epoch of capsd counts no more.
	local function keep_up()
		if current.epoch == epoch then return; end
		epoch = current.epoch;
		listener.withdrawn();
	end

	-- Takes an answer to a request; returns whether it was one.
	function link.receive(stanza)
		local request = pending[stanza.attr.id];
		if not request or request.peer.jid ~= stanza.attr.from then return false; end
		pending[stanza.attr.id] = nil;
		request.timer:stop();
		local child = stanza.tags[1];
		if stanza.attr.type == "result" and child and child.attr.xmlns == xmlns_capsd then
			request.peer.epoch = child.attr.epoch;
			if request.peer == current then keep_up(); end
			request.callback(child);
		else
			local kind, condition = stanza:get_error();
			request.callback(nil, kind == "wait" and "not now" or condition or "not understood");
		end
		return true;
	end

	local function forget_reports()
		dirty, dirty_count, live, anew, begins = {}, 0, new_queue(), new_queue(), false;
	end

	-- Whoever waits for that component, or for anything to be told to it, is told that it is absent.
	local function give_up(peer)
		local waiting = {};
		for id, request in pairs(pending) do
			if request.peer == peer then
				pending[id] = nil;
				request.timer:stop();
				table.insert(waiting, request);
			end
		end
		return waiting;
	end

	-- Whoever went while nobody listened is not among them, and need not be: only what is told from now on counts.
	local function tell_everything()
		forget_reports();
		begins = true;
		for jid in source.holders() do
			if not dirty[jid] then
				dirty[jid] = anew;
				dirty_count = dirty_count + 1;
				anew.push(jid);
			end
		end
	end

	local greet;

	-- Whether it hangs is being found out until this timer ends.
	local doubting;

	local function be_prompt(is_prompt)
		link.prompt = is_prompt;
		if doubting then doubting:stop(); end
		doubting = nil;
	end

	local function lose(cause)
		module:log("info", "%s is not used for now: %s", current.jid, cause);
		local waiting = give_up(current);
		current.asked, current = false, nil;
		be_prompt(false);
		link.usable = false;
		forget_reports();
		listener.lost();
		for _, request in ipairs(waiting) do request.callback(nil, "absent"); end
		for _, peer in ipairs(peers) do greet(peer); end
	end

	local function complain(peer, cause)
		if cause == "absent" or peer.complaint == cause then return; end
		peer.complaint = cause;
		-- It is about to stop, or at one of its bounds, and says more in its own log.
		if cause == "not now" then return; end
		if cause == "forbidden" then
			module:log("warn", "%s does not believe what %s reports: add that to `feeds` in capsd's configuration", peer.jid, module.host);
		elseif cause == "timeout" then
			module:log("warn", "%s did not answer within %d s", peer.jid, answer_timeout);
		else
			module:log("warn", "%s does not speak %s (%s); is it a capsd, and of this version?", peer.jid, xmlns_capsd, cause);
		end
	end

	local function new_feed(peer)
		return st.stanza("feed", { xmlns = xmlns_capsd, instance = peer.instance });
	end

	local pump;

	local function use(peer)
		current = peer;
		module:log("info", "%s is used", peer.jid);
		keep_up();
		tell_everything();
	end

	local function answered(peer, instance)
		local changed = peer.instance ~= instance;
		if changed and peer.instance and not peer.fresh then
			module:log("warn", "another process answers for %s, which did not connect anew: is there a second capsd?", peer.jid);
		end
		local anew_wanted = changed or peer.fresh;
		peer.instance, peer.fresh, peer.complaint = instance, false, nil;
		if current == peer then
			if anew_wanted then tell_everything(); end
		elseif not current or peer.rank < current.rank then
			use(peer);
		else
			return;
		end
		be_prompt(true);
		if not link.usable then
			link.usable = true;
			listener.ready();
		end
		pump();
	end

	local function tell(peer, element, callback)
		ask(peer, "set", element, function (answer, cause)
			if callback then callback(); end
			if answer then return answered(peer, answer.attr.instance); end
			complain(peer, cause);
			if peer == current then lose(cause); end
		end);
	end

	-- The next part of the feed, if the one before was answered: that is the pace.
	local function feed(peer, element)
		peer.asked = true;
		tell(peer, element, function () peer.asked = false; end);
	end

	-- An empty feed: is it there, and who is it?
	function greet(peer)
		if not peer.asked and is_connected(peer) then
			feed(peer, new_feed(peer));
		end
	end

	-- capsd takes its time: it is sent what it answers at once, and if that takes long, too, nothing more is held for it until it has
	-- answered. The answer may be there already, unread, while this process is busy with other things: each of its turns counts once.
	local function doubt()
		if doubting or not current then return; end
		greet(current);
		local tick, left = promptness / 10, 10;
		doubting = module:add_timer(tick, function ()
			left = left - 1;
			if left > 0 then return tick; end
			be_prompt(false);
		end);
	end

	local function add_report(element, jid)
		local announcement, askable = source.holder(jid);
		if not announcement then
			element:tag("gone", { jid = jid }):up();
			listener.count("reports", "gone");
			return #jid + 16;
		end
		element:tag("holder", { jid = jid, askable = askable and "true" or nil });
		for _, c in ipairs(announcement.elements) do element:add_child(c); end
		element:up();
		listener.count("reports", "holder");
		return #jid + 40 + announcement.size;
	end

	-- Sends the next part of the feed if the one before was answered.
	function pump()
		local peer = current;
		if not peer or peer.asked or not (live.peek() or anew.peek() or begins) then return; end
		local element, count, bytes = new_feed(peer), 0, 0;
		local is_first = begins;
		if is_first then
			element.attr.anew = "true";
			begins = false;
		end
		for _, queue in ipairs { live, anew } do
			while count < most_elements and bytes < settings.stanza_size do
				local jid = queue.pop();
				if not jid then break; end
				if dirty[jid] == queue then
					dirty[jid] = nil;
					dirty_count = dirty_count - 1;
					count, bytes = count + 1, bytes + add_report(element, jid);
				end
			end
		end
		if count > 0 or is_first then feed(peer, element); end
	end

	-- Reports what somebody waits for, whatever else is to be told, and however that is paced.
	local function report_now(jid)
		local element = new_feed(current);
		add_report(element, jid);
		-- Unless all is about to be told anew, and to count alone.
		if not begins then
			dirty[jid] = nil;
			dirty_count = dirty_count - 1;
		end
		tell(current, element);
	end

	-- Something about that address changed: it announces something else, or is gone.
	function link.report(jid)
		if not current or dirty[jid] == live then return; end
		if not dirty[jid] then
			if dirty_count >= settings.most_reports then
				listener.count("limits", "reports");
				tell_everything();
				return pump();
			end
			dirty_count = dirty_count + 1;
		end
		dirty[jid] = live;
		live.push(jid);
		pump();
	end

	-- Calls back with the verified <query/> and for how many seconds it holds, or with nil and a reason. `jid` is an address that announced
	-- the node: what is to be told of it is told before.
	function link.lookup(node, jid, wait, callback)
		if not current then return callback(nil, "absent"); end
		if dirty[jid] then report_now(jid); end
		local payload = st.stanza("lookup", { xmlns = xmlns_capsd, wait = wait and "true" or "false" })
			:tag("key", { node = node }):up();
		local peer = current;
		-- A look-up that takes long may wait for a client, or capsd hangs: which of the two is known before who waits for it has waited enough.
		local impatience = promptness > 0 and module:add_timer(promptness, function () doubt(); end);
		ask(peer, "get", payload, function (answer, cause)
			if impatience then impatience:stop(); end
			if answer and peer == current and answer.attr.instance ~= peer.instance then
				greet(peer);
			end
			local key = answer and answer:get_child("key", xmlns_capsd);
			local query = key and key.attr.unverified == nil and key:get_child("query", xmlns_disco_info);
			callback(query, key and key.attr.reason or cause, answer and tonumber(answer.attr["max-age"]));
			if cause then doubt(); end
		end);
	end

	-- Hands over what `jid` answered for `node` in a stanza of that language, which may count for a hash of XEP-0390; calls back with whether
	-- that is now known under the node, or with nil and why nobody said so.
	function link.contribute(node, jid, query, lang, callback)
		if not current then return callback(nil, "absent"); end
		local content = st.clone(query);
		content.attr.node = node;
		content.attr["xml:lang"] = content.attr["xml:lang"] or lang;
		local payload = st.stanza("contribute", { xmlns = xmlns_capsd })
			:tag("info", { node = node, jid = jid }):add_child(content):up();
		ask(current, "set", payload, function (answer, cause)
			if not answer then return callback(nil, cause); end
			local info = answer:get_child("info", xmlns_capsd);
			callback(info and info.attr.reason == nil);
		end);
	end

	local function watch(peer)
		if peer.watched == hosts[peer.jid] then return; end
		peer.watched = hosts[peer.jid];
		peer.host = module:context(peer.jid);
		peer.host:hook("component-authenticated", peer.on_connect);
		peer.host:hook("component-disconnected", peer.on_disconnect);
	end

	for rank, jid in ipairs(settings.components) do
		local peer = { rank = rank, jid = jid };
		function peer.on_connect()
			peer.down, peer.fresh, peer.asked = false, true, false;
			if not current or rank <= current.rank then greet(peer); end
		end
		function peer.on_disconnect(event)
			-- A second connection that was refused ends without having been the component's.
			if event.session.type ~= "component" then return; end
			peer.down = true;
			if peer == current then return lose("it disconnected"); end
			for _, request in ipairs(give_up(peer)) do request.callback(nil, "absent"); end
		end
		peers[rank] = peer;
	end

	local function on_host(host)
		for _, peer in ipairs(peers) do
			if peer.jid == host then watch(peer); end
		end
	end

	local retry;

	function link.open()
		module:hook_global("host-activated", on_host);
		for _, peer in ipairs(peers) do
			if hosts[peer.jid] then watch(peer); end
			greet(peer);
		end
		-- Also the one in use, which may have withdrawn something, or hang.
		retry = module:add_timer(settings.retry, function ()
			for _, peer in ipairs(peers) do
				if not current or peer.rank <= current.rank then greet(peer); end
			end
			return settings.retry;
		end);
	end

	function link.close()
		module:unhook_object_event(prosody.events, "host-activated", on_host);
		for _, peer in ipairs(peers) do
			if peer.watched and peer.watched == hosts[peer.jid] then
				peer.host:unhook("component-authenticated", peer.on_connect);
				peer.host:unhook("component-disconnected", peer.on_disconnect);
			end
		end
		for _, request in pairs(pending) do request.timer:stop(); end
		pending, current = {}, nil;
		be_prompt(false);
		link.usable = false;
		forget_reports();
		retry:stop();
	end

	return link;
end

return { new = new };
