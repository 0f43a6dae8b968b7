-- The furthest that a permit can last: sent at the last moment, then a whole window.
local function horizon_ms() return policy.send_ms + policy.window_ms + policy.guard_ms end

-- The state of the quota, read in one look. A table that is made with all its fields costs a third of one that grows.
local function quota_state()
  local kept = redis.call('HMGET', QUOTA, 'epoch', 'policy', 'probe', 'probed', 'failed', 'hold_until',
    'blocked_until', 'last_grant_at', 'batch_at', 'batch_interval', 'batch_calls', 'reserved_until', 'open_until',
    'open_ms', 'probe_until', 'closed_at', 'policy_horizon', 'urgent_run', 'answer_ms', 'could_at', 'reset_at')
  local function number(at) -- as number_of, which would be one call more for each of them
    local number = tonumber(kept[at] or nil)
    return number and number >= 0 and number < END_MS and number or 0
  end
  local q = {
    epoch = kept[1], policy = kept[2], probe = kept[3], probed = kept[4],
    failed = kept[5] and decoded(kept[5]) or {}, -- the items of failed calls since the last success
    hold_until = number(6), blocked_until = number(7), last_grant_at = number(8), batch_at = number(9),
    batch_interval = number(10), batch_calls = number(11), reserved_until = number(12), open_until = number(13),
    open_ms = number(14), probe_until = number(15), closed_at = number(16), policy_horizon = number(17),
    urgent_run = number(18), answer_ms = number(19), could_at = number(20), reset_at = number(21),
    policy_until = 0, is_ours = kept[2] == policy.kept,
  }
  if q.batch_at > 0 then q.batch_at = q.batch_at + ahead end -- kept in Redis' own time, as slots are
  if q.policy and not q.is_ours then
    q.policy_until = q.last_grant_at + math.max(q.policy_horizon, horizon_ms())
  end
  -- The slot moves on when its batch is enqueued; without a batch, `grace_ms` after it.
  if q.batch_interval > 0 and now > q.batch_at + policy.grace_ms then
    local late = now - policy.grace_ms - q.batch_at
    q.batch_at = q.batch_at + math.ceil(late / q.batch_interval) * q.batch_interval
  end
  return q
end
