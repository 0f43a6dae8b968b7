-- The dead letters: what goes there, and what stays there.
local function bury_item(symbol, item, kind, reason)
  forget({ symbol })
  redis.call('ZADD', DEAD, now, symbol)
  redis.call('HSET', DEAD_ITEMS, symbol, cjson.encode({
    kind = kind, reason = reason, died_at_ms = wall, attempts = item.attempts,
    crashes = item.crashes, priority = item.priority, payload = item.payload, version = item.version,
    deaths = item.deaths, solo = item.solo,
  }))
  count('buried:' .. kind)
end

-- A symbol whose item cannot be read must not hold up the others; the next request makes a new one.
local function discard(symbol)
  if redis.call('HEXISTS', ITEMS, symbol) == 0 then return forget({ symbol }) end
  local unknown = { attempts = 0, crashes = 0, priority = LOWEST, payload = '{}' }
  bury_item(symbol, unknown, 'transient', 'its entry in Redis was unreadable')
end

local function read_dead(symbol)
  local dead = decoded(redis.call('HGET', DEAD_ITEMS, symbol))
  dead.died_at = math.min(now, tonumber(redis.call('ZSCORE', DEAD, symbol) or 0))
  return dead
end

-- Why a dead letter stays dead when it is asked for; nil: it may live again. rest: invalid_ms; first_ms, which doubles
-- with each death that no refresh came between, up to longest_ms. The first transient death costs no rest.
local function still_dead(dead, rest)
  local rest_ms = 0
  if dead.kind == 'poison' then rest_ms = math.huge end
  if dead.kind == 'invalid' then rest_ms = rest.invalid_ms end
  local again = (tonumber(dead.deaths) or 0) - 1
  if dead.kind == 'transient' and again > 0 then
    rest_ms = math.min(rest.longest_ms, rest.first_ms * 2 ^ (again - 1))
  end
  if rest_ms > now - dead.died_at then return dead.kind .. ': ' .. tostring(dead.reason) end
end

local function forget_dead(symbols)
  if redis.call('EXISTS', DEAD, DEAD_ITEMS) == 0 then return end
  call_many('HDEL', DEAD_ITEMS, symbols)
  call_many('ZREM', DEAD, symbols)
end
