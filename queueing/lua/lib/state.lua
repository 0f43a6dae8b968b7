-- The state of the quota, read in one look: the texts first, then the numbers.
local TEXTS = 5
local FIELDS = { 'epoch', 'policy', 'probe', 'probed', 'failed', 'hold_until', 'blocked_until', 'last_grant_at',
  'batch_at', 'batch_interval', 'batch_calls', 'reserved_until', 'open_until', 'open_ms', 'probe_until',
  'closed_at', 'policy_horizon', 'urgent_run', 'answer_ms', 'could_at', 'reset_at' }
-- The furthest that a permit can last: sent at the last moment, then a whole window.
local function horizon_ms() return policy.send_ms + policy.window_ms + policy.guard_ms end

-- What makes two policies count differently; calls that were counted by one say nothing to the other.
local function policy_text()
  return string.format('%.0f:%.0f:%.0f:%.0f', policy.limit, policy.window_ms, policy.send_ms, policy.guard_ms)
end

local function quota_state()
  local q, values = {}, redis.call('HMGET', QUOTA, unpack(FIELDS))
  for i = 1, TEXTS do q[FIELDS[i]] = values[i] end
  for i = TEXTS + 1, #FIELDS do q[FIELDS[i]] = values[i] and tonumber(values[i]) or 0 end
  q.failed = q.failed and cjson.decode(q.failed) or {} -- the items of failed calls since the last success
  if q.batch_at > 0 then q.batch_at = q.batch_at + ahead end -- kept in Redis' own time, as slots are
  q.policy_until, q.is_ours = 0, q.policy == policy_text()
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
