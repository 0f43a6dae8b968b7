-- The state of the quota, read in one look.
local TEXTS = { 'epoch', 'probe', 'probed', 'failed' }
local NUMBERS = { 'hold_until', 'blocked_until', 'blocked_ms', 'last_grant_at', 'batch_at', 'batch_interval',
  'batch_calls', 'ready_since', 'reserved_until', 'open_until', 'open_ms', 'probe_until', 'closed_at' }
local LONGEST_PROBE_MS = 600000 -- the longest lease

-- The furthest that a permit can last: sent at the last moment, then a whole window.
local function horizon_ms() return policy.send_ms + policy.window_ms + policy.guard_ms end

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
  -- A clock that stepped back must not hold us longer than the longest hold there is.
  local function at_most(name, ahead_ms)
    if q[name] > now + ahead_ms then q[name], q.stepped_back = now + ahead_ms, true end
  end
  at_most('hold_until', horizon_ms())
  at_most('blocked_until', q.blocked_ms)
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
