-- needs: state
-- The circuit breaker: after `breaker_after` calls in a row that failed no call goes, until one probe
-- finds that calls work again. lib/grants.lua keeps the others waiting.
local function end_probe(q)
  redis.call('HDEL', QUOTA, 'probe', 'probe_until')
  q.probe, q.probe_until = false, 0
end

local function close_breaker(q)
  if q.open_until > 0 then
    q.closed_at = now
    redis.call('HSET', QUOTA, 'closed_at', ms(now))
  end
  redis.call('HDEL', QUOTA, 'failures', 'open_until', 'open_ms', 'open_since', 'open_reason')
  end_probe(q)
  q.failures, q.open_until, q.open_ms = 0, 0, 0
end

local function open_breaker(q, reason)
  if q.open_until == 0 then
    q.open_ms = policy.breaker_first_ms
    redis.call('HSET', QUOTA, 'open_since', ms(now))
    count('breaker_opened')
  else
    q.open_ms = math.min(q.open_ms * 2, policy.breaker_longest_ms)
  end
  q.open_until = now + q.open_ms
  redis.call('HSET', QUOTA, 'open_until', ms(q.open_until), 'open_ms', ms(q.open_ms), 'open_reason', reason or '')
  end_probe(q)
end

-- What a call that ended says about all calls. failed: true, false, or nil: nothing (it was not sent, or
-- nobody knows). True if the breaker is open and this call did not prove that calls work.
local function judge_call(q, call_id, failed, reason)
  if policy.breaker_after == 0 then return false end
  local probing = q.open_until > 0 and q.probe == call_id
  if failed == false then
    if q.failures > 0 or q.open_until > 0 then close_breaker(q) end
    return false
  end
  if failed == nil then
    if probing then end_probe(q) end -- undecided: the next call tries again
  elseif q.open_until == 0 or probing then -- else: sent before the breaker opened, and no news
    q.failures = q.failures + 1
    redis.call('HSET', QUOTA, 'failures', ms(q.failures))
    if probing or q.failures >= policy.breaker_after then open_breaker(q, reason) end
  end
  return q.open_until > 0
end
