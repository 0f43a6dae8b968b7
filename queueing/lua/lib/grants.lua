-- When the next call may go, and how it is granted.
local function reserved_until(q, at)
  local deadline = q.batch_at + policy.tolerance_ms
  if at + horizon_ms <= deadline then return 0 end -- it is over by then
  -- Of the permits that last beyond the deadline, this many leave room for the batch, this call's among them.
  local spare = policy.limit - math.min(q.batch_calls, policy.limit)
  local given_up = q.batch_at + policy.grace_ms + 1 -- no batch came
  if spare == 0 then return given_up end
  local ends = nth_last_end(spare)
  return ends > deadline and math.min(given_up, ends) or 0
end

-- Of background_share calls in a row one goes to background work that waits, whatever is critical or reserved: so there
-- is a bound to its wait whatever the batch asks for. urgent_run: critical calls in a row while such work waited.
local function share_is_due(q)
  return policy.background_share > 0 and q.urgent_run >= policy.background_share - 1
end

local function note_share(q, critical)
  local run = critical and q.urgent_run + math.min(1, queued_in(CRITICAL + 1, LOWEST - 1)) or 0
  if run ~= q.urgent_run then redis.call('HSET', QUOTA, 'urgent_run', run) end
  q.urgent_run = run
end

-- Whether calls may be kept free for a batch at all.
local function reservable(q)
  return policy.limit > 0 and q.batch_interval > 0 and q.batch_calls > 0 and not share_is_due(q)
end

-- When may the next call go, and what holds it until then? (time <= now: at once)
local function call_free_at(q, critical)
  local at, reason = now, 'free'
  if q.policy_until > at then at, reason = q.policy_until, 'policy' end
  if q.blocked_until > at then at, reason = q.blocked_until, 'blocked' end
  local spaced_at = q.last_grant_at + policy.spacing_ms
  if spaced_at > at then at, reason = spaced_at, 'spacing' end
  if q.open_until > 0 then -- the provider fails: until the next probe, and while one is under way (or its lease ends)
    local probe_at = math.max(q.open_until, q.probe_until)
    if probe_at > at then at, reason = probe_at, 'breaker' end
  end
  if policy.limit == 0 then return at, reason end
  if q.hold_until > at then at, reason = q.hold_until, 'hold' end
  local permit_at = nth_last_end(policy.limit)
  if permit_at > at then at, reason = permit_at, 'window' end
  if critical or not reservable(q) then return at, reason end
  local unreserved_at = reserved_until(q, at) -- by batch_at + tolerance the batch must find its permits free
  if unreserved_at > at then at, reason = unreserved_at, 'reserved' end
  return at, reason
end

-- Grants the call to work that is there since `ready_since`. While the circuit breaker is open this call decides whether
-- the provider is back, for at most `probe_ms`. Returns since when the quota allowed it, and since when it could have
-- been made: from there spacing counts, so that one late call does not excuse the next.
local function grant(call_id, q, probe_ms, ready_since)
  local allowed_since, working_since = now, now
  if policy.limit > 0 then
    allowed_since = math.max(q.hold_until, q.blocked_until, q.could_at + policy.spacing_ms, take_permit(call_id))
    working_since = math.max(allowed_since, q.open_until, q.probe_until, q.closed_at)
  end
  q.last_grant_at, q.could_at = now, math.min(now, math.max(working_since, ready_since, q.reserved_until))
  redis.call('HSET', QUOTA, 'last_grant_at', now, 'could_at', q.could_at)
  if q.open_until > 0 then
    q.probe, q.probe_until = call_id, now + probe_ms
    redis.call('HSET', QUOTA, 'probe', q.probe, 'probe_until', q.probe_until)
    count('probes')
  end
  return allowed_since, q.could_at
end

-- Notes until when background work is held back by the reservation, which is not idleness. Called before and
-- after whatever may begin or end one.
local function note_reservation(q)
  if q.reserved_until <= now and not reservable(q) then return end
  local at, reason = call_free_at(q, false)
  local until_ms = reason == 'reserved' and at or math.min(q.reserved_until, now)
  if until_ms == q.reserved_until then return end
  redis.call('HSET', QUOTA, 'reserved_until', until_ms)
  q.reserved_until = until_ms
end

-- A moving mean of the time from a grant to the end of its call: what forecasts reckon with.
local MEAN_OF = 20
local function note_answer(q, took)
  if took < 0 then return end -- the clock stepped back meanwhile
  local mean = q.answer_ms > 0 and q.answer_ms + (took - q.answer_ms) / MEAN_OF or took
  redis.call('HSET', QUOTA, 'answer_ms', mean)
end
