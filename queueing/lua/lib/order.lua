-- Which item goes next. Needs lib/items.lua and lib/quota.lua.
-- The queue in the order in which calls would take it, at most n symbols.
-- Critical first, strictly. Else the heads of the bands by priority - floor(waited / aging), never
-- below 2, ties by the time of the request: so nothing waits for ever.
local function in_order(n)
  local heads, bands = {}, {}
  for priority = CRITICAL, LOWEST do
    local symbols = redis.call('ZRANGEBYSCORE', QUEUE, ms(priority * BAND),
      '(' .. ms((priority + 1) * BAND), 'LIMIT', 0, n)
    if #symbols > 0 then
      local band = { at = 1, symbols = symbols, items = {}, priority = priority }
      for from = 1, #symbols, 1000 do -- Lua passes some thousand arguments at most
        local raw = redis.call('HMGET', ITEMS, unpack(symbols, from, math.min(from + 999, #symbols)))
        for i = 1, #raw do band.items[from + i - 1] = read_item(raw[i]) or { broken = true, enqueued_at_ms = 0 } end
      end
      bands[#bands + 1] = band
    end
  end
  local function urgency(band)
    local since = band.items[band.at].enqueued_at_ms
    if band.priority == CRITICAL then return CRITICAL, since end
    if policy.aging_ms == 0 then return band.priority, since end
    local aged = band.priority - math.floor(math.max(0, now - since) / policy.aging_ms)
    return math.max(CRITICAL + 1, aged), since
  end
  while #heads < n do
    local best, best_urgency, best_since
    for _, band in ipairs(bands) do
      if band.symbols[band.at] then
        local u, since = urgency(band)
        if not best or u < best_urgency or (u == best_urgency and since < best_since) then
          best, best_urgency, best_since = band, u, since
        end
      end
    end
    if not best then break end
    heads[#heads + 1] = { symbol = best.symbols[best.at], item = best.items[best.at] }
    best.at = best.at + 1
  end
  return heads
end

-- The same without those that cannot be read, which are discarded (bounded).
local function sound_heads(n)
  for _ = 1, 100 do
    local heads, sound = in_order(n), true
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

-- The same without items of a newer version than args.version: workers that know it will take them.
-- Also returns whether there are such items (bounded). A worker that tells no version takes all.
local NEWER_MS, LOOK_AHEAD = 2000, 300
local function known_heads(n)
  local function known(heads)
    local mine = {}
    for _, head in ipairs(heads) do
      if (tonumber(head.item.version) or 1) <= (args.version or math.huge) then mine[#mine + 1] = head end
    end
    return mine
  end
  local heads = sound_heads(n)
  local mine = known(heads)
  if #mine == #heads then return mine, false end
  mine = known(sound_heads(n + LOOK_AHEAD))
  while #mine > n do table.remove(mine) end
  return mine, true
end
