-- Which drain waits, and how it is woken.

-- One drain waits for the next event; the others leave. `waiter_at` is when it will look by itself.
local WAITER_SLACK_MS, LONGEST_WAIT_MS = 1000, 60000

local function stop_waiting(drain)
  if drain and redis.call('GET', WAITER) == drain then redis.call('DEL', WAITER) end
end

-- A drain that waits takes a token at once. One that lets it lie, or does not look when it said, is dead.
-- busy?: a drain that waits no longer.
local function waiting_drain(busy)
  local holder = redis.call('GET', WAITER)
  if not holder then return nil end
  if holder == busy then
    redis.call('DEL', WAITER)
    return nil
  end
  local looks_at = number_of(redis.call('HGET', QUOTA, 'waiter_at')) or 0
  local token = redis.call('LINDEX', WAKE, -1)
  local told_at = token and (tonumber(token) or now)
  if looks_at + WAITER_SLACK_MS < now or (told_at and told_at + WAITER_SLACK_MS <= now) then return nil end
  return holder, looks_at
end

local function become_waiter(drain, at, max_wait_ms)
  if not drain then return false end
  local holder = waiting_drain()
  if holder and holder ~= drain then return false end
  local wait = math.min(at - now, max_wait_ms or LONGEST_WAIT_MS)
  redis.call('SET', WAITER, drain, 'PX', ms(wait + WAITER_SLACK_MS))
  redis.call('HSET', QUOTA, 'waiter_at', now + wait)
  redis.call('DEL', WAKE) -- what they told is known by now
  return true
end

local function a_drain_waits() return waiting_drain() ~= nil end

local function push_token()
  redis.call('LPUSH', WAKE, now)
  redis.call('LTRIM', WAKE, 0, 7)
  redis.call('PEXPIRE', WAKE, 60000)
end

-- Level, not edge: the waiting drain is woken only if there is something to do before it looks by itself.
-- Returns whether a drain waits at all.
local function wake_if_sooner(at, busy)
  local drain, looks_at = waiting_drain(busy)
  if drain and at and at < looks_at then push_token() end
  return drain ~= nil
end
