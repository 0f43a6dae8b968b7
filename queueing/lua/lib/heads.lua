-- The heads of the queue that a worker may take.

-- The first n of the queue, without those that cannot be read, which are discarded (bounded).
local function sound_heads(n, most, least)
  for _ = 1, 20 do
    local heads, sound = in_order(bands_with_work(n, most or CRITICAL, least or LOWEST), n), true
    for _, head in ipairs(heads) do
      if head.item.broken then
        discard(head.symbol)
        sound = false
      end
    end
    if sound then return heads end
  end
  return {}
end

-- The same without items of a newer version than the worker knows, which are left to others (bounded).
-- Also returns whether there are such items. A worker that tells no version takes all.
local LOOK_AHEAD = 100
local function known_heads(n, version, most, least)
  local function known(heads)
    local mine = {}
    for _, head in ipairs(heads) do
      if #mine < n and (tonumber(head.item.version) or 1) <= (version or math.huge) then mine[#mine + 1] = head end
    end
    return mine
  end
  local heads = sound_heads(n, most, least)
  local mine = known(heads)
  if #mine == #heads then return mine, false end
  return known(sound_heads(n + LOOK_AHEAD, most, least)), true
end
