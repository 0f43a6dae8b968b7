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

-- rows: symbol, score, symbol, score, ...; those behind the band are left out.
local function band_of(priority, rows)
  local symbols, scores, behind = {}, {}, (priority + 1) * BAND
  for i = 1, #rows, 2 do
    if tonumber(rows[i + 1]) >= behind then break end
    symbols[#symbols + 1], scores[#scores + 1] = rows[i], rows[i + 1]
  end
  local raw = #symbols > 0 and redis.call('HMGET', ITEMS, unpack(symbols)) or {}
  return { priority = priority, symbols = symbols, scores = scores, raw = raw, at = 1 }
end

-- Every band, from its rank skip[priority] on, with up to n symbols.
local function bands_behind(skip, n)
  local bands = {}
  for priority = CRITICAL, LOWEST do
    local low = redis.call('ZCOUNT', QUEUE, '-inf', priority * BAND - 1)
    local from, stop = skip[priority], math.min(skip[priority] + n, queued_in(priority, priority))
    local rows = from < stop and redis.call('ZRANGE', QUEUE, low + from, low + stop - 1, 'WITHSCORES') or {}
    bands[priority] = band_of(priority, rows)
  end
  return bands
end

-- The bands from `most` to `least` that hold something, each with its first n symbols: one look for each of them.
local function bands_with_work(n, most, least)
  local bands, priority = {}, most
  while priority <= least do
    local low, high = band_scores(priority, least)
    local rows = redis.call('ZRANGEBYSCORE', QUEUE, low, high, 'WITHSCORES', 'LIMIT', 0, n)
    if not rows[1] then break end
    priority = math.floor(rows[2] / BAND)
    local band = band_of(priority, rows)
    bands[#bands + 1] = band
    if priority == CRITICAL and #band.symbols == n then break end -- no other goes before these
    priority = priority + 1
  end
  return bands
end

local function head_of(band)
  local symbol = band.symbols[band.at]
  if symbol and not band.head then
    local item = read_item(band.raw[band.at]) or { broken = true, enqueued_at_ms = 0 }
    band.head = { symbol = symbol, item = item, priority = band.priority, score = band.scores[band.at],
      raw = band.raw[band.at] }
    band.urgency, band.since = urgency(item, band.priority)
  end
  return band.head
end

-- The first n of these bands in the order in which calls would take them.
local function in_order(bands, n)
  local heads = {}
  while #heads < n do
    local best
    for _, band in ipairs(bands) do
      if head_of(band) and (not best or band.urgency < best.urgency
        or (band.urgency == best.urgency and band.since < best.since)) then best = band end
    end
    if not best then break end
    heads[#heads + 1] = best.head
    best.at, best.head = best.at + 1, nil
  end
  return heads
end
