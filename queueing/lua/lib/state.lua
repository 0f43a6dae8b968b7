-- The furthest that a permit can last: sent at the last moment, then a whole window.
local horizon_ms = policy.send_ms + policy.window_ms + policy.guard_ms

-- The state of the quota, read in one look. A table that is made with all its fields costs a third of one that grows.
local function quota_state()
  local kept = redis.call('HMGET', QUOTA, 'epoch', 'policy', 'failed', 'hold_until', 'blocked_until', 'last_grant_at',
    'batch_at', 'batch_interval', 'batch_calls', 'reserved_until', 'open_until', 'closed_at', 'urgent_run', 'answer_ms',
    'could_at', 'reset_at')
  local function number(text) -- as number_of, which would be one call more for each of them
    local number = tonumber(text or nil)
    return number and number >= 0 and number < END_MS and number or 0
  end
  local q = {
    epoch = kept[1], policy = kept[2],
    failed = kept[3] and decoded(kept[3]) or {}, -- the items of failed calls since the last success
    hold_until = number(kept[4]), blocked_until = number(kept[5]), last_grant_at = number(kept[6]),
    batch_at = number(kept[7]), batch_interval = number(kept[8]), batch_calls = number(kept[9]),
    reserved_until = number(kept[10]), open_until = number(kept[11]), closed_at = number(kept[12]),
    urgent_run = number(kept[13]), answer_ms = number(kept[14]), could_at = number(kept[15]),
    reset_at = number(kept[16]), policy_until = 0, is_ours = kept[2] == policy.kept,
    open_ms = 0, probe = false, probe_until = 0, probed = false, -- nothing, while the circuit breaker is closed
  }
  if q.open_until > 0 then
    local open = redis.call('HMGET', QUOTA, 'open_ms', 'probe', 'probe_until', 'probed')
    q.open_ms, q.probe, q.probe_until, q.probed = number(open[1]), open[2], number(open[3]), open[4]
  end
  if q.batch_at > 0 then q.batch_at = q.batch_at + ahead end -- kept in Redis' own time, as slots are
  if q.policy and not q.is_ours then
    local horizon = number(redis.call('HGET', QUOTA, 'policy_horizon')) -- of those rules
    q.policy_until = q.last_grant_at + math.max(horizon, horizon_ms)
  end
  -- The slot moves on when its batch is enqueued; without a batch, `grace_ms` after it.
  if q.batch_interval > 0 and now > q.batch_at + policy.grace_ms then
    local late = now - policy.grace_ms - q.batch_at
    q.batch_at = q.batch_at + math.ceil(late / q.batch_interval) * q.batch_interval
  end
  return q
end
