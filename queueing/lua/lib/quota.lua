-- The sliding window of calls, as the provider counts them, and what else may hold a call back.
-- args.policy: limit (0 = none), window_ms, send_ms, guard_ms, spacing_ms, tolerance_ms, grace_ms, aging_ms
--
-- A member of the window is a place: its score says until when the call in it counts. A place whose
-- time has come is free, and keeps that time until the next call takes it.
local policy = args.policy
local LONGEST_PROBE_MS = 600000 -- the longest lease

-- The furthest that a place can lie ahead: sent at the last moment, then a whole window.
local function horizon_ms() return policy.send_ms + policy.window_ms + policy.guard_ms end

local function quota_state()
  local f = redis.call('HMGET', QUOTA, 'epoch', 'hold_until', 'blocked_until', 'last_grant_at',
    'batch_at', 'batch_interval', 'batch_calls', 'ready_since', 'reserved_until', 'blocked_ms',
    'failures', 'open_until', 'open_ms', 'probe', 'probe_until', 'closed_at')
  local q = {
    epoch = f[1], hold_until = tonumber(f[2] or 0), blocked_until = tonumber(f[3] or 0),
    last_grant_at = tonumber(f[4] or 0), batch_at = tonumber(f[5] or 0),
    batch_interval = tonumber(f[6] or 0), batch_calls = tonumber(f[7] or 0),
    ready_since = tonumber(f[8] or 0), reserved_until = tonumber(f[9] or 0),
    failures = tonumber(f[11] or 0), open_until = tonumber(f[12] or 0), open_ms = tonumber(f[13] or 0),
    probe = f[14], probe_until = tonumber(f[15] or 0), closed_at = tonumber(f[16] or 0),
  }
  -- A clock that stepped back must not hold us longer than the longest hold there is.
  local function at_most(name, ahead_ms)
    if q[name] > now + ahead_ms then q[name], q.stepped_back = now + ahead_ms, true end
  end
  at_most('hold_until', horizon_ms())
  at_most('blocked_until', tonumber(f[10] or 0))
  at_most('last_grant_at', 0)
  at_most('open_until', q.open_ms)
  at_most('probe_until', LONGEST_PROBE_MS)
  at_most('closed_at', 0)
  -- The slot moves on when its batch is enqueued; without a batch, `grace_ms` after it.
  if q.batch_interval > 0 and now > q.batch_at + policy.grace_ms then
    local late = now - policy.grace_ms - q.batch_at
    q.batch_at = q.batch_at + math.ceil(late / q.batch_interval) * q.batch_interval
  end
  return q
end

-- A new, flushed, restarted or replaced server does not know the calls of the last window.
local function server_epoch()
  local info = redis.pcall('INFO', 'server')
  local run_id = type(info) == 'string' and string.match(info, 'run_id:(%x+)')
  return run_id or 'unknown'
end

-- Places ahead of now, soonest first, as times (clamped to the horizon); and all places.
local function places()
  local raw = redis.call('ZRANGE', WINDOW, 0, -1, 'WITHSCORES')
  local busy, furthest = {}, now + horizon_ms()
  for i = 2, #raw, 2 do
    local at = tonumber(raw[i])
    if at > now then busy[#busy + 1] = math.min(at, furthest) end
  end
  return busy, #raw / 2
end

-- Writes what `places` and `quota_state` clamp when they read, so that a clock that stepped back heals.
local function heal_clock(q)
  local furthest = now + horizon_ms()
  local beyond = redis.call('ZRANGEBYSCORE', WINDOW, '(' .. ms(furthest), '+inf', 'LIMIT', 0, 1000)
  for _, id in ipairs(beyond) do redis.call('ZADD', WINDOW, 'XX', ms(furthest), id) end
  if q.stepped_back then
    redis.call('HSET', QUOTA, 'hold_until', ms(q.hold_until), 'blocked_until', ms(q.blocked_until),
      'last_grant_at', ms(q.last_grant_at), 'closed_at', ms(q.closed_at))
    if q.open_until > 0 then
      redis.call('HSET', QUOTA, 'open_until', ms(q.open_until), 'probe_until', ms(q.probe_until))
    end
  end
end

-- True unless the window may lack calls that were made; then nothing is granted for a horizon.
-- mark: left in this server (mark.lua) before it was learned that nobody had called for longer than that.
-- While it stands nothing was lost since; so it lifts a hold as well.
local function check_epoch(q, mark)
  if policy.limit == 0 then return end
  local epoch = server_epoch()
  local marked_at = mark and tonumber(redis.call('ZSCORE', MARKS, epoch .. ':' .. mark) or nil)
  -- What is remembered must not contradict it.
  local proven = marked_at and q.last_grant_at <= marked_at - horizon_ms()
  -- After a grant the window is never empty, unless it was evicted, deleted, or there was no limit.
  local lost = q.hold_until <= now and q.last_grant_at > now - horizon_ms() and redis.call('EXISTS', WINDOW) == 0
  if q.epoch == epoch and not lost and not (proven and q.hold_until > now) then return end
  q.epoch = epoch
  q.hold_until = proven and 0 or now + horizon_ms()
  redis.call('HSET', QUOTA, 'epoch', epoch, 'hold_until', ms(q.hold_until))
  if not proven then count('holds') end
end

-- When may the next call go, and what holds it until then? (time <= now: at once)
local function call_free_at(q, busy, critical)
  local at, reason = now, 'free'
  local function not_before(time, why)
    if time > at then at, reason = time, why end
  end
  not_before(q.blocked_until, 'blocked')
  not_before(q.last_grant_at + policy.spacing_ms, 'spacing')
  -- The provider fails: until the next probe, and while one is under way (a lost one ends with its lease).
  if q.open_until > 0 then not_before(math.max(q.open_until, q.probe_until), 'breaker') end
  if policy.limit == 0 then return at, reason end
  not_before(q.hold_until, 'hold')
  if #busy >= policy.limit then not_before(busy[#busy - policy.limit + 1], 'window') end
  if critical or q.batch_interval == 0 or q.batch_calls == 0 then return at, reason end
  -- Look ahead: by batch_at + tolerance the batch must find its places free.
  local deadline = q.batch_at + policy.tolerance_ms
  if at + horizon_ms() <= deadline then return at, reason end
  local beyond = {}
  for _, time in ipairs(busy) do
    if time > deadline then beyond[#beyond + 1] = time end
  end
  local too_many = #beyond + 1 + math.min(q.batch_calls, policy.limit) - policy.limit
  if too_many <= 0 then return at, reason end
  -- Until no batch came, or, if it is late beyond its tolerance, until so many of these are free again.
  local over = q.batch_at + policy.grace_ms + 1
  not_before(math.min(over, beyond[too_many] or over), 'reserved')
  return at, reason
end

-- Takes a place for the call and returns since when it was free to take.
local function take_place(call_id, q)
  local free_since = math.max(q.hold_until, q.blocked_until, q.last_grant_at + policy.spacing_ms,
    q.open_until, q.probe_until, q.closed_at)
  redis.call('HSET', QUOTA, 'last_grant_at', ms(now))
  if q.open_until > 0 then -- one call decides whether the provider is back
    q.probe, q.probe_until = call_id, now + (args.lease_ms or horizon_ms())
    redis.call('HSET', QUOTA, 'probe', q.probe, 'probe_until', ms(q.probe_until))
    count('probes')
  end
  q.last_grant_at = now
  if policy.limit == 0 then return now end
  local used = redis.call('ZCARD', WINDOW)
  while used >= policy.limit do
    local oldest = redis.call('ZRANGE', WINDOW, 0, 0, 'WITHSCORES')
    if tonumber(oldest[2]) > now then break end
    free_since = math.max(free_since, tonumber(oldest[2]))
    redis.call('ZREM', WINDOW, oldest[1])
    used = used - 1
  end
  redis.call('ZADD', WINDOW, ms(now + horizon_ms()), call_id)
  return free_since
end

-- Until when background work is held back by the reservation, which is not idleness. Called before and
-- after whatever may begin or end one.
local function note_reservation(q)
  local at, reason = call_free_at(q, (places()), false)
  local until_ms = reason == 'reserved' and at or math.min(q.reserved_until, now)
  if until_ms == q.reserved_until then return end
  redis.call('HSET', QUOTA, 'reserved_until', ms(until_ms))
  q.reserved_until = until_ms
end

-- An HTTP response came: the call arrived before now, so it counts until now + window at most.
-- None came although the request was sent: a retransmission may have arrived as late as now. Only
-- then may the place be kept longer; it is never freed earlier for want of an answer.
local function settle(call_id, answered)
  if policy.limit == 0 then return 0 end
  local until_ms = now + policy.window_ms + policy.guard_ms
  return redis.call('ZADD', WINDOW, 'XX', answered and 'LT' or 'GT', 'CH', ms(until_ms), call_id)
end
