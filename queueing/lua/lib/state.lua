-- The state of the quota, read in one look.
local TEXTS = { 'epoch', 'policy', 'probe', 'probed', 'failed' }
local NUMBERS = { 'hold_until', 'blocked_until', 'blocked_ms', 'last_grant_at', 'batch_at', 'batch_interval',
  'batch_calls', 'ready_since', 'reserved_until', 'open_until', 'open_ms', 'probe_until', 'closed_at',
  'policy_horizon', 'urgent_run', 'answer_ms', 'could_at' }
-- The furthest that a permit can last: sent at the last moment, then a whole window.
local function horizon_ms() return policy.send_ms + policy.window_ms + policy.guard_ms end

-- What makes two policies count differently; calls that were counted by one say nothing to the other.
local function policy_text()
  return string.format('%.0f:%.0f:%.0f:%.0f', policy.limit, policy.window_ms, policy.send_ms, policy.guard_ms)
end

local function read_fields()
  local q, fields = {}, {}
  for _, name in ipairs(TEXTS) do fields[#fields + 1] = name end
  for _, name in ipairs(NUMBERS) do fields[#fields + 1] = name end
  for i, value in ipairs(redis.call('HMGET', QUOTA, unpack(fields))) do
    if i <= #TEXTS then q[fields[i]] = value else q[fields[i]] = tonumber(value or 0) end
  end
  return q
end

local function quota_state()
  local q = read_fields()
  q.failed = q.failed and cjson.decode(q.failed) or {} -- the items of failed calls since the last success
  if q.batch_at > 0 then q.batch_at = q.batch_at + ahead end -- kept in Redis' own time, as slots are
  q.policy_until = 0
  if q.policy and q.policy ~= policy_text() then
    q.policy_until = q.last_grant_at + math.max(q.policy_horizon, horizon_ms())
  end
  -- The slot moves on when its batch is enqueued; without a batch, `grace_ms` after it.
  if q.batch_interval > 0 and now > q.batch_at + policy.grace_ms then
    local late = now - policy.grace_ms - q.batch_at
    q.batch_at = q.batch_at + math.ceil(late / q.batch_interval) * q.batch_interval
  end
  return q
end
