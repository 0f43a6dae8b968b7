-- The sliding window of calls, as the provider counts them. A member of WINDOW is the permit of a call: its score
-- says until when it counts. A permit whose time has come stays, and keeps that time, until the next call replaces it.
local REPLACED_AT_ONCE = 1000

-- When the n-th last of all permits ends, which may lie in the past; 0: there are fewer. O(log n).
local function nth_last_end(n)
  local row = redis.call('ZRANGE', WINDOW, -n, -n, 'WITHSCORES')
  return math.min(tonumber(row[2] or 0), END_MS)
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
  redis.call('ZADD', WINDOW, now + horizon_ms, call_id)
  return free_since
end

-- An HTTP response came: the call arrived before now, so it counts until now + window at most.
-- None came although the request was sent: a retransmission may have arrived as late as now. Only
-- then may the permit last longer; it never ends earlier for want of an answer.
local function settle(call_id, answered)
  if policy.limit == 0 then return 0 end
  local until_ms = now + policy.window_ms + policy.guard_ms
  return redis.call('ZADD', WINDOW, 'XX', answered and 'LT' or 'GT', 'CH', until_ms, call_id)
end
