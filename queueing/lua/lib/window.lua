-- needs: state
-- The sliding window of calls, as the provider counts them. A member of WINDOW is the permit of a call: its score
-- says until when it counts. A permit whose time has come stays, and keeps that time, until the next call replaces it.
local REPLACED_AT_ONCE = 1000

-- When the n-th last of all permits ends, which may lie in the past; 0: there are fewer. O(log n).
local function nth_last_end(n)
  local row = redis.call('ZRANGE', WINDOW, -n, -n, 'WITHSCORES')
  return row[2] and math.min(tonumber(row[2]), now + horizon_ms()) or 0
end

local function permits_in_use() return redis.call('ZCOUNT', WINDOW, '(' .. ms(now), '+inf') end

-- Gives the call a permit, which ends at the last moment at which it can count. Returns since when it was free.
local function take_permit(call_id)
  local free_since = 0
  local ended = math.min(redis.call('ZCARD', WINDOW) - policy.limit + 1, REPLACED_AT_ONCE)
  if ended > 0 then
    free_since = tonumber(redis.call('ZRANGE', WINDOW, ended - 1, ended - 1, 'WITHSCORES')[2])
    redis.call('ZREMRANGEBYRANK', WINDOW, 0, ended - 1)
  end
  redis.call('ZADD', WINDOW, ms(now + horizon_ms()), call_id)
  return free_since
end

-- An HTTP response came: the call arrived before now, so it counts until now + window at most.
-- None came although the request was sent: a retransmission may have arrived as late as now. Only
-- then may the permit last longer; it never ends earlier for want of an answer.
local function settle(call_id, answered)
  if policy.limit == 0 then return 0 end
  local until_ms = now + policy.window_ms + policy.guard_ms
  return redis.call('ZADD', WINDOW, 'XX', answered and 'LT' or 'GT', 'CH', ms(until_ms), call_id)
end

-- Writes what is clamped when it is read, so that a clock that stepped back heals.
local function heal_clock(q)
  local furthest = ms(now + horizon_ms())
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', WINDOW, '(' .. furthest, '+inf', 'LIMIT', 0, 1000)) do
    redis.call('ZADD', WINDOW, 'XX', furthest, id)
  end
  if not q.stepped_back then return end
  redis.call('HSET', QUOTA, 'hold_until', ms(q.hold_until), 'blocked_until', ms(q.blocked_until),
    'last_grant_at', ms(q.last_grant_at), 'closed_at', ms(q.closed_at))
  if q.open_until > 0 then
    redis.call('HSET', QUOTA, 'open_until', ms(q.open_until), 'probe_until', ms(q.probe_until))
  end
end
