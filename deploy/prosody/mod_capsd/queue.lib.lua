-- First in, first out.
--
-- luacheck: globals module, max line length 140

local function new()
	local first, last, items = 1, 0, {};
	local queue = {};
	function queue.push(item)
		last = last + 1;
		items[last] = item;
	end
	-- The oldest one, or nil.
	function queue.peek()
		return items[first];
	end
	-- Takes the oldest one out, or returns nil.
	function queue.pop()
		local item = items[first];
		if item == nil then return; end
		items[first] = nil;
		first = first + 1;
		return item;
	end
	return queue;
end

return { new = new };
