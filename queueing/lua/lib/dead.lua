-- needs: items
-- The dead letters: what goes there, and what stays there.
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

-- Why a dead symbol stays dead when it is asked for; nil: it may live again.
local function still_dead(symbol, invalid_ms)
  local raw = redis.call('HGET', DEAD_ITEMS, symbol)
  if not raw then return nil end
  local read, dead = pcall(cjson.decode, raw)
  if not read or type(dead) ~= 'table' then return nil end
  if dead.kind == 'poison' then return 'poison: ' .. dead.reason end
  if dead.kind == 'invalid' and now - dead.died_at_ms < invalid_ms then return 'invalid: ' .. dead.reason end
end

local function forget_dead(symbol)
  redis.call('HDEL', DEAD_ITEMS, symbol)
  return redis.call('ZREM', DEAD, symbol)
end
