-- The items: how one is kept, how one comes back, and what is due.
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
