-- Contacts on other servers and occupants of rooms, as their presences pass by on the way to sessions of this host.
--
-- luacheck: globals module, read globals prosody, max line length 140

local new_cache = require "util.cache".new;
local jid_bare = require "util.jid".bare;

local xmlns_muc_user = "http://jabber.org/protocol/muc#user";

local function has_status(x, code)
	for _, tag in ipairs(x.tags) do
		if tag.name == "status" and tag.attr.code == code then return true; end
	end
end

-- `announcements`: that library, whose equal announcements are one table. `settings`: most_seen, most_heard. `is_of_module(address)` tells
-- whether it is reported otherwise. `report(address)` is called when what is known of it has changed; `count(name, label)` counts.
local function new(announcements, settings, is_of_module, report, count)
	local read, hear = announcements.read, announcements.hear;
	local seen = {};
	-- Of each address how many sessions of this host have its announcement in force: with the last one it is gone.
	local hearers = {};
	local last = new_cache(settings.most_seen, function (address)
		count("limits", "seen");
		hearers[address] = nil;
		-- The cache removes it after this function.
		module:add_timer(0, function () report(address); end);
	end);

	local function lost(address)
		local number = hearers[address];
		if not number then return; end
		if number > 1 then
			hearers[address] = number - 1;
			return;
		end
		hearers[address] = nil;
		last:set(address, nil);
		report(address);
	end

	local function note(address, announcement, is_first)
		local before = last:get(address);
		if not before then
			if is_of_module(address) then return; end
			hearers[address] = 1;
		elseif is_first then
			hearers[address] = hearers[address] + 1;
		end
		if before == announcement then return; end
		last:set(address, announcement);
		report(address);
	end

	-- A presence is about to be delivered. Returns the address of a room that the session is no longer in because of it.
	function seen.on_presence(session, stanza)
		local from, kind = stanza.attr.from, stanza.attr.type;
		if not from then return; end
		if kind == nil then
			local announcement = read(stanza);
			local change = hear(session, from, announcement, settings.most_heard);
			if change == "full" then
				count("limits", "heard");
			elseif announcement then
				note(from, announcement, change == "first");
			elseif change == "last" then
				lost(from);
			end
		elseif kind == "unavailable" then
			local room = stanza:get_child("x", xmlns_muc_user);
			if jid_bare(from) == from then
				announcements.forget_bare(session, from, lost);
			elseif room and has_status(room, "110") and not has_status(room, "303") then
				-- It is no longer in that room itself, and would be refused by it; 303 is a change of its nick alone.
				announcements.forget_bare(session, jid_bare(from), lost);
				return jid_bare(from);
			elseif hear(session, from, nil, 0) == "last" then
				lost(from);
			end
		end
	end

	-- What that contact announced to that session counts no more.
	function seen.forget_bare(session, bare)
		announcements.forget_bare(session, bare, lost);
	end

	-- What was delivered to that session counts no more.
	function seen.forget_all(session)
		announcements.forget_all(session, lost);
	end

	-- What an address announced last, while somebody here has it in force.
	function seen.get(address)
		return last:get(address);
	end

	function seen.items()
		return last:items();
	end

	return seen;
end

return { new = new };
