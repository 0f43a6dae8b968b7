-- When the next call may go, which drain waits for it, and how it is woken.

-- The earliest time at which a claim could be answered differently, and why not before; nil: no work.
-- critical: whether the most urgent item that this worker knows is; nil: as the whole queue says.
local function next_event(q, critical)
  local best, why
  if queued_in(CRITICAL, LOWEST) > 0 then
    if critical == nil then critical = reservable(q) and queued_in(CRITICAL, CRITICAL) > 0 end
    best, why = call_free_at(q, critical)
    if best <= now then return now, why end
  end
  local function consider(key, reason)
    local at = tonumber(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2])
    if at and (not best or at < best) then best, why = at, reason end
  end
  consider(DELAYED, 'delayed')
  consider(LEASES, 'leased')
  return best and math.max(best, now), why
end

-- One drain waits for the next event; the others leave. `waiter_at` is when it will look by itself.
local WAITER_SLACK_MS, LONGEST_WAIT_MS = 1000, 60000

-- A drain that waits takes a token at once. One that lets it lie, or does not look when it said, is dead.
local function waiting_drain()
  local holder = redis.call('GET', WAITER)
  if not holder then return nil end
  local looks_at = tonumber(redis.call('HGET', QUOTA, 'waiter_at') or 0)
  local token = redis.call('LINDEX', WAKE, -1)
  if looks_at + WAITER_SLACK_MS < now or (token and (tonumber(token) or now) + WAITER_SLACK_MS <= now) then return nil end
  return holder, looks_at
end

local function become_waiter(drain, at, max_wait_ms)
  if not drain then return false end
  local holder = waiting_drain()
  if holder and holder ~= drain then return false end
  local wait = math.min(at - now, max_wait_ms or LONGEST_WAIT_MS)
  redis.call('SET', WAITER, drain, 'PX', ms(wait + WAITER_SLACK_MS))
  redis.call('HSET', QUOTA, 'waiter_at', ms(now + wait))
  redis.call('DEL', WAKE) -- what they told is known by now
  return true
end

local function stop_waiting(drain)
  if drain and redis.call('GET', WAITER) == drain then redis.call('DEL', WAITER) end
end

local function a_drain_waits() return waiting_drain() ~= nil end

local function push_token()
  redis.call('LPUSH', WAKE, ms(now))
  redis.call('LTRIM', WAKE, 0, 7)
  redis.call('PEXPIRE', WAKE, 60000)
end

-- Level, not edge: the waiting drain is woken only if there is something to do before it looks by itself.
-- Returns whether a drain waits at all.
local function wake_if_sooner(at)
  local drain, looks_at = waiting_drain()
  if drain and at and at < looks_at then push_token() end
  return drain ~= nil
end

-- A reply with its hint: when to claim again and why not before.
local function hinted(reply, at, why)
  reply.next_at_ms, reply.next_reason = told(at), why
  return reply
end

-- The reply to a drain: its hint, and whether this drain is the one that waits for it (`waiter`) or another one does
-- (`waiting`). A drain that is busy now leaves the next call to the waiting one.
local function reply_to_drain(reply, q, drain, max_wait_ms, busy_now, critical)
  local at, why = next_event(q, critical)
  hinted(reply, at, why)
  note_reservation(q)
  if at and at > now and not busy_now and become_waiter(drain, at, max_wait_ms) then
    reply.waiter = true
  else
    stop_waiting(drain)
    if busy_now or not drain or (at and at > now) then reply.waiting = wake_if_sooner(at) end
  end
  return answer(reply)
end
