-- needs: items dead
-- Which item goes next.
-- Critical first, strictly. Else the heads of the bands by priority - floor(waited / aging), never
-- below 2, ties by the time of the request: so no item waits for ever. The last band takes what is left: it never ages.
local function urgency(item, priority)
  local since = item.enqueued_at_ms
  if priority == CRITICAL then return CRITICAL, since end
  if policy.aging_ms == 0 or priority == LOWEST then return priority, since end
  local aged = priority - math.floor(math.max(0, now - since) / policy.aging_ms)
  return math.max(CRITICAL + 1, aged), since
end

-- The first n symbols of one band from its rank `from` on, each with the text of its item.
local function read_band(priority, from, n)
  local low = redis.call('ZCOUNT', QUEUE, '-inf', '(' .. ms(priority * BAND))
  local stop = math.min(from + n, queued_in(priority, priority))
  local symbols = from < stop and redis.call('ZRANGE', QUEUE, low + from, low + stop - 1) or {}
  local raw = #symbols > 0 and redis.call('HMGET', ITEMS, unpack(symbols)) or {}
  return { priority = priority, symbols = symbols, raw = raw, at = 1 }
end

local function head_of(band)
  local symbol = band.symbols[band.at]
  if symbol and not band.head then
    local item = read_item(band.raw[band.at]) or { broken = true, enqueued_at_ms = 0 }
    band.head = { symbol = symbol, item = item, priority = band.priority }
    band.urgency, band.since = urgency(item, band.priority)
  end
  return band.head
end

-- The queue in the order in which calls would take it: at most n, after the first skip[priority] of each band, of the
-- bands from `most` to `least`.
local function in_order(n, skip, most, least)
  local bands, heads = {}, {}
  for priority = most or CRITICAL, least or LOWEST do
    bands[#bands + 1] = read_band(priority, skip and skip[priority] or 0, n)
  end
  local function before(a, b) return a.urgency < b.urgency or (a.urgency == b.urgency and a.since < b.since) end
  while #heads < n do
    local best
    for _, band in ipairs(bands) do
      if head_of(band) and (not best or before(band, best)) then best = band end
    end
    if not best then break end
    heads[#heads + 1] = best.head
    best.at, best.head = best.at + 1, nil
  end
  return heads
end

-- The same without those that cannot be read, which are discarded (bounded).
local function sound_heads(n, most, least)
  for _ = 1, 20 do
    local heads, sound = in_order(n, nil, most, least), true
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
