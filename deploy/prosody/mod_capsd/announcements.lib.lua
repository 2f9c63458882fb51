-- What presences announce (XEP-0115, XEP-0390), and which session was told what by whom.
--
-- luacheck: globals module, read globals prosody, max line length 140

local st = require "util.stanza";
local jid_bare = require "util.jid".bare;

local xmlns_0115 = "http://jabber.org/protocol/caps";
local xmlns_0390 = "urn:xmpp:caps";
local xmlns_hashes = "urn:xmpp:hashes:2";
local xmlns_muc_user = "http://jabber.org/protocol/muc#user";

-- Whatever is longer than this or more than this is no announcement to this module; its questions go their way.
local longest_text = 1023;
-- capsd refuses longer nodes, whatever their hash is.
local longest_node = 1024;
local most_hashes = 16;
-- Between the parts of a text by which announcements are told apart. No XML holds it, so that none of the parts does.
local between = "\0";

-- Equal announcements are one table, so that a room of a thousand costs a thousand references.
local interned = setmetatable({}, { __mode = "v" });

local function is_text(text)
	return text and text ~= "" and #text <= longest_text;
end

-- The text that tells a <c/> of XEP-0115 from others; nil if it announces nothing.
local function text_of_0115(c)
	local attr = c.attr;
	if not (is_text(attr.node) and is_text(attr.ver)) then return; end
	local hash, ext = is_text(attr.hash) and attr.hash or "", is_text(attr.ext) and attr.ext or "";
	return table.concat({ hash, attr.node, attr.ver, ext }, between);
end

-- The same without what does not belong there.
local function trim_0115(c)
	local attr = c.attr;
	local hash, ext = is_text(attr.hash) and attr.hash or nil, is_text(attr.ext) and attr.ext or nil;
	return st.stanza("c", { xmlns = xmlns_0115, hash = hash, node = attr.node, ver = attr.ver, ext = ext });
end

-- The hashes of a <c/> of XEP-0390, as ALGO.BASE64.
local function hashes_of(c)
	local texts = {};
	for hash in c:childtags("hash", xmlns_hashes) do
		local algorithm, digest = hash.attr.algo, hash:get_text();
		if #texts < most_hashes and is_text(algorithm) and is_text(digest) then
			table.insert(texts, algorithm .. "." .. digest);
		end
	end
	return texts;
end

local function trim_0390(c)
	local trimmed = st.stanza("c", { xmlns = xmlns_0390 });
	for _, text in ipairs(hashes_of(c)) do
		local algorithm, digest = text:match("^(.*)%.(.*)$");
		trimmed:text_tag("hash", digest, { xmlns = xmlns_hashes, algo = algorithm });
	end
	return trimmed;
end

-- An announcement has:
--   id        the text by which two announcements of one address are compared: all that they say of both families
--   cached_as the node under which session.caps_cache has the content: that of XEP-0115, for which modules look, if there is one
--   nodes     caps node (as in disco#info) → key: whatever is the same for every client with the same content
--   node, key those to look up when a query has no node; nil for legacy announcements, which prove nothing
--   new       whether it is made by XEP-0390
--   elements  the <c/> elements, and `size`, about their bytes
--   room      whether it came from a room
local function make(id, c_0115, c_0390, room)
	local announcement = { id = id, nodes = {}, elements = {}, size = 0, room = room, new = c_0390 and true or false };
	if c_0390 then
		for _, text in ipairs(hashes_of(c_0390)) do
			-- The family first: an algorithm may have any name, also one by which it would pass for the other family.
			local node, key = xmlns_0390 .. "#" .. text, "0390." .. text;
			announcement.nodes[node] = key;
			if not announcement.node or text:find("^sha%-256%.") then
				announcement.node, announcement.key = node, key;
			end
		end
		announcement.cached_as = announcement.node;
		table.insert(announcement.elements, trim_0390(c_0390));
	end
	if c_0115 then
		local node = c_0115.attr.node .. "#" .. c_0115.attr.ver;
		announcement.cached_as = node;
		if c_0115.attr.hash and #node <= longest_node then
			-- The hash does not cover the URL in `node`: clients that differ in that alone have one key.
			announcement.nodes[node] = "0115." .. c_0115.attr.ver;
			if not announcement.node then
				announcement.node, announcement.key = node, announcement.nodes[node];
			end
		end
		table.insert(announcement.elements, trim_0115(c_0115));
	end
	for _, element in ipairs(announcement.elements) do
		announcement.size = announcement.size + #tostring(element);
	end
	return announcement;
end

local last_stanza, last_announcement;

-- What a presence announces; nil if nothing. One presence goes to many sessions as the same object, so the last is remembered.
local function read(stanza)
	if stanza == last_stanza then return last_announcement; end
	local c_0115, c_0390, room, text_0115, text_0390;
	for _, child in ipairs(stanza.tags) do
		local xmlns = child.attr.xmlns;
		-- The first of each family counts, as for capsd.
		if xmlns == xmlns_0115 and child.name == "c" and not c_0115 then
			c_0115, text_0115 = child, text_of_0115(child);
		elseif xmlns == xmlns_0390 and child.name == "c" and not c_0390 then
			c_0390, text_0390 = child, table.concat(hashes_of(child), between);
			if text_0390 == "" then text_0390 = nil; end
		elseif xmlns == xmlns_muc_user then
			room = true;
		end
	end
	local announcement;
	if text_0115 or text_0390 then
		local id = (text_0115 or "") .. between .. between .. (text_0390 or "");
		local text = (room and "room" or "direct") .. between .. id;
		announcement = interned[text];
		if not announcement then
			announcement = make(id, text_0115 and c_0115, text_0390 and c_0390, room);
			interned[text] = announcement;
		end
	end
	last_stanza, last_announcement = stanza, announcement;
	return announcement;
end

-- Which session was told what: session → { count, bares = { bare JID → { full JID → announcement } } }. Sessions of one virtual host ask
-- for users of another, so all instances of the module share it. An entry goes with its session at the latest.
local heard = setmetatable(module:shared("/*/capsd/heard"), { __mode = "k" });

-- `most` bounds the addresses that are remembered for one session; what is beyond is not remembered. Returns what that changed: "first" if
-- nothing was remembered of that address before, "last" if nothing is any more, "full" if there was no room.
local function hear(session, jid, announcement, most)
	local told = heard[session];
	if not told then
		if not announcement then return; end
		told = { count = 0, bares = {} };
		heard[session] = told;
	end
	local bare = jid_bare(jid);
	local resources = told.bares[bare];
	local before = resources and resources[jid];
	if before == announcement then return; end
	if not announcement then
		resources[jid] = nil;
		told.count = told.count - 1;
		if not next(resources) then told.bares[bare] = nil; end
		return "last";
	end
	if not before then
		if told.count >= most then return "full"; end
		told.count = told.count + 1;
		if not resources then
			resources = {};
			told.bares[bare] = resources;
		end
	end
	resources[jid] = announcement;
	return not before and "first" or nil;
end

-- Forgets all resources of a contact, or all occupants of a room; `lost` is called with each address.
local function forget_bare(session, bare, lost)
	local told = heard[session];
	local resources = told and told.bares[bare];
	if not resources then return; end
	told.bares[bare] = nil;
	for jid in pairs(resources) do
		told.count = told.count - 1;
		lost(jid);
	end
end

-- Forgets everything that session was told; `lost` is called with each address.
local function forget_all(session, lost)
	local told = heard[session];
	if not told then return; end
	heard[session] = nil;
	for _, resources in pairs(told.bares) do
		for jid in pairs(resources) do lost(jid); end
	end
end

-- What that session was last told by that address.
local function heard_from(session, jid)
	local told = heard[session];
	if not told then return; end
	local resources = told.bares[jid_bare(jid)];
	return resources and resources[jid];
end

-- Queries to occupants of rooms of this server: stanza → { session, address }, as they were before the room puts other addresses in.
local asked = setmetatable(module:shared("/*/capsd/asked"), { __mode = "k" });

-- A session asks an occupant, by a stanza that the room will pass on.
local function ask(stanza, session)
	asked[stanza] = { session = session, address = stanza.attr.to };
end

-- A copy of a query that keeps who asks whom.
local function copy(stanza)
	local clone = st.clone(stanza);
	asked[clone] = asked[stanza];
	return clone;
end

-- For a query that has come through a room of this server from one of its users: true, and what the asker was last told by whom he asks.
local function heard_by_asker(stanza)
	local question = asked[stanza];
	if not question then return false; end
	return true, heard_from(question.session, question.address);
end

return {
	ask = ask;
	copy = copy;
	heard_by_asker = heard_by_asker;
	read = read;
	hear = hear;
	forget_bare = forget_bare;
	forget_all = forget_all;
	heard_from = heard_from;
};
