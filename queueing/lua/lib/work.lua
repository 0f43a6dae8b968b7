-- The items: which goes next, how one comes back, what is due. Needs lib/quota.lua.
local BAND = 1e13 -- score = priority * BAND + ms
local CRITICAL, LOWEST = 1, 4

-- Times further ahead than these were written before the clock stepped back.
local LONGEST_LEASE_MS, LONGEST_DELAY_MS = 600000, 86400000

-- nil: there is none, or it is not as the scripts write it (another hand changed it).
local function read_item(raw)
  local read, item = pcall(cjson.decode, raw or '')
  if not read or type(item) ~= 'table' then return nil end
  for _, name in ipairs({ 'priority', 'enqueued_at_ms', 'attempts', 'crashes' }) do
    if type(item[name]) ~= 'number' then return nil end
  end
  return tonumber(item.score) and type(item.payload) == 'string' and item or nil
end

local function load_item(symbol) return read_item(redis.call('HGET', ITEMS, symbol)) end

local function save_item(symbol, item) redis.call('HSET', ITEMS, symbol, cjson.encode(item)) end

-- A score of its own: strictly rising by 1/128 ms, so that order of arrival holds within one millisecond.
-- It may run ahead of the clock; ages come from enqueued_at_ms.
local function next_score(priority)
  local last = tonumber(redis.call('HGET', QUOTA, 'last_score_ms') or 0)
  local at = math.max(now, last + 1 / 128)
  redis.call('HSET', QUOTA, 'last_score_ms', exact(at))
  return exact(priority * BAND + at)
end

local function put_in_queue(symbol, item, ready_at)
  redis.call('ZADD', QUEUE, item.score, symbol)
  redis.call('HSETNX', QUOTA, 'ready_since', ms(ready_at))
end

-- An urgent request that came while the item was leased takes effect when the item comes back.
local function apply_wanted(item)
  if item.wanted_priority then
    if item.wanted_priority < item.priority then
      item.priority, item.score = item.wanted_priority, item.wanted_score
    end
    item.wanted_priority, item.wanted_score = nil, nil
  end
end

local function end_lease(symbol, item)
  redis.call('ZREM', LEASES, symbol)
  item.token, item.lease_size = nil, nil
end

-- Forgets a pending symbol altogether.
local function forget(symbol)
  redis.call('ZREM', QUEUE, symbol)
  redis.call('ZREM', DELAYED, symbol)
  redis.call('ZREM', LEASES, symbol)
  redis.call('SREM', PENDING, symbol)
  redis.call('HDEL', ITEMS, symbol)
end

local function bury_item(symbol, item, kind, reason)
  forget(symbol)
  redis.call('ZADD', DEAD, ms(now), symbol)
  redis.call('HSET', DEAD_ITEMS, symbol, cjson.encode({
    kind = kind, reason = reason, died_at_ms = now, attempts = item.attempts,
    crashes = item.crashes, priority = item.priority, payload = item.payload, version = item.version,
  }))
  count('buried:' .. kind)
end

-- A symbol whose item cannot be read must not hold up the others; the next request makes a new one.
local function discard(symbol)
  if redis.call('HEXISTS', ITEMS, symbol) == 0 then return forget(symbol) end
  local unknown = { attempts = 0, crashes = 0, priority = LOWEST, payload = '{}' }
  bury_item(symbol, unknown, 'transient', 'its entry in Redis was unreadable')
end

local function bring_nearer(key, longest_ms)
  local furthest = ms(now + longest_ms)
  for _, symbol in ipairs(redis.call('ZRANGEBYSCORE', key, '(' .. furthest, '+inf', 'LIMIT', 0, 300)) do
    redis.call('ZADD', key, furthest, symbol)
  end
end

-- Due delayed items go into the queue; expired leases come back (bounded).
-- A crash counts towards poison only if the item was alone in its lease.
-- Returns how many moved, and what the records of their batches must be told (lua/outcome.lua), as
-- those are not among this script's keys: [[symbol, slot, error]] or nil.
local function reap()
  local moved, lost, poisoned = 0, {}, nil
  bring_nearer(DELAYED, LONGEST_DELAY_MS)
  bring_nearer(LEASES, LONGEST_LEASE_MS)
  for _, symbol in ipairs(redis.call('ZRANGEBYSCORE', DELAYED, '-inf', ms(now), 'LIMIT', 0, 100)) do
    local due = tonumber(redis.call('ZSCORE', DELAYED, symbol))
    local item = load_item(symbol)
    redis.call('ZREM', DELAYED, symbol)
    if item then put_in_queue(symbol, item, due) else discard(symbol) end
    moved = moved + 1
  end
  for _, symbol in ipairs(redis.call('ZRANGEBYSCORE', LEASES, '-inf', ms(now), 'LIMIT', 0, 300)) do
    local item = load_item(symbol)
    moved = moved + 1
    count('reaped')
    if not item then
      discard(symbol)
    else
      local alone = item.lease_size == 1
      if item.token and not lost[item.token] then -- one lease, one call
        lost[item.token] = true
        count('lost_calls')
      end
      end_lease(symbol, item)
      if alone then item.crashes = item.crashes + 1 else item.solo = true end
      item.last_error = 'lease expired: the worker died or was stuck'
      if alone and item.crashes >= args.poison_after then
        local reason = string.format('%d workers died refreshing it alone', item.crashes)
        bury_item(symbol, item, 'poison', reason)
        if item.batch then
          poisoned = poisoned or {}
          poisoned[#poisoned + 1] = { symbol, item.batch, 'poison: ' .. reason }
        end
      else
        apply_wanted(item)
        save_item(symbol, item)
        put_in_queue(symbol, item, now)
      end
    end
  end
  return moved, poisoned
end

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

local function queued_in(first, last)
  return redis.call('ZCOUNT', QUEUE, ms(first * BAND), '(' .. ms((last + 1) * BAND))
end

-- The earliest time at which a claim could be answered differently, and why not before; nil: no work.
local function next_event(q)
  local best, why
  local function consider(at, reason)
    if not best or at < best then best, why = at, reason end
  end
  if queued_in(CRITICAL, LOWEST) > 0 then
    consider(call_free_at(q, (places()), queued_in(CRITICAL, CRITICAL) > 0))
  end
  local delayed = redis.call('ZRANGE', DELAYED, 0, 0, 'WITHSCORES')
  if delayed[2] then consider(tonumber(delayed[2]), 'delayed') end
  local lease = redis.call('ZRANGE', LEASES, 0, 0, 'WITHSCORES')
  if lease[2] then consider(tonumber(lease[2]), 'leased') end
  return best and math.max(best, now), why
end

-- One drain waits for the next event; the others leave. `waiter_at` is when it will look by itself.
local WAITER_SLACK_MS = 1000
local function become_waiter(drain, at)
  if not drain then return false end
  local holder = redis.call('GET', WAITER)
  if holder and holder ~= drain then return false end
  local wait = math.min(at - now, args.max_wait_ms or 60000)
  redis.call('SET', WAITER, drain, 'PX', ms(wait + WAITER_SLACK_MS))
  redis.call('HSET', QUOTA, 'waiter_at', ms(now + wait))
  return true
end

local function stop_waiting(drain)
  if drain and redis.call('GET', WAITER) == drain then redis.call('DEL', WAITER) end
end

local function push_token()
  redis.call('LPUSH', WAKE, ms(now))
  redis.call('LTRIM', WAKE, 0, 7)
  redis.call('PEXPIRE', WAKE, 60000)
end

-- Level, not edge: the waiting drain is woken only if there is something to do before it looks by itself.
-- Returns whether a drain waits at all.
local function wake_if_sooner(at)
  if redis.call('EXISTS', WAITER) == 0 then return false end
  local waiter_at = tonumber(redis.call('HGET', QUOTA, 'waiter_at') or 0)
  if at and at < waiter_at then push_token() end
  return true
end

-- The end of every reply that a drain reads: when to claim again, why not before, and whether this
-- drain is the one that waits for it. A drain that is busy now leaves the next call to the waiting one.
local function with_hint(reply, q, busy_now)
  local at, why = next_event(q)
  reply.now_ms, reply.next_at_ms, reply.next_reason = now, at, why
  note_reservation(q)
  if at and at > now and not busy_now and become_waiter(args.drain, at) then
    reply.waiter = true
  else
    stop_waiting(args.drain)
    if busy_now or not args.drain or (at and at > now) then reply.waiting = wake_if_sooner(at) end
  end
  return cjson.encode(reply)
end

-- KEYS[17] belongs to the slot args.slot. A record that is gone is not begun again.
local function in_batch(item)
  return item.batch and item.batch == args.slot and redis.call('EXISTS', BATCH) == 1
end

-- Outcomes in the record of a batch.
local function batch_outcome(item, symbol, outcome)
  if not in_batch(item) then return end
  outcome.at_ms = now
  redis.call('HSET', BATCH, 'outcome:' .. symbol, cjson.encode(outcome))
  local left = 0
  for _, name in ipairs(cjson.decode(redis.call('HGET', BATCH, 'assets') or '[]')) do
    if redis.call('HEXISTS', BATCH, 'outcome:' .. name) == 0 then left = left + 1 end
  end
  if left == 0 then redis.call('HSETNX', BATCH, 'finished_at_ms', ms(now)) end
end

-- A call that ended was one of the batch's if any of its items is (rows = [{item}]).
local function batch_call(rows)
  for _, row in ipairs(rows) do
    if in_batch(row.item) then
      redis.call('HINCRBY', BATCH, 'calls', 1)
      redis.call('HSETNX', BATCH, 'first_call_at_ms', ms(args.granted_at_ms))
      return
    end
  end
end
