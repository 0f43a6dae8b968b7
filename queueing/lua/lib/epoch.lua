-- Whether the window can be trusted: a new, flushed, restarted or replaced server does not know the last calls.
-- A user who may not ask INFO goes by what others have seen.
local function known_epoch(q)
  local info = redis.pcall('INFO', 'server')
  if type(info) == 'string' then
    local _, before = string.find(info, 'run_id:', 1, true)
    return before and string.match(info, '^%x+', before + 1) or 'unknown'
  end
  local error = tostring(info.err)
  local refused = string.match(error, 'ACL') or string.match(error, 'user')
  return refused and q.epoch or 'unknown'
end

-- Takes over the quota for the rules of this process, once no call that was granted by other rules can count.
local function check_policy(q)
  if q.is_ours or q.policy_until > now then return end
  q.policy, q.policy_until, q.is_ours = policy.kept, 0, true
  redis.call('HSET', QUOTA, 'policy', q.policy, 'policy_horizon', horizon_ms)
end

-- A call that counts is known elsewhere and not here: this server's memory is an older one, as after a restored
-- snapshot. Its own permit would still be here, unless the calls were forgotten by order.
local function forgot(q, call)
  return call and wall - call.at_ms < policy.window_ms and call.at_ms + ahead > q.reset_at
    and not redis.call('ZSCORE', WINDOW, call.token)
end

-- Holds all grants for a horizon if the window may lack calls that were made.
-- mark: left in this server (mark.lua) before it was learned that no call was made for longer than that.
-- While it stands nothing was lost since; so it lifts a hold as well. newest_call?: {token, at_ms}.
local function check_epoch(q, mark, newest_call)
  if policy.limit == 0 then return end
  local epoch = known_epoch(q)
  local marked_at = mark and tonumber(redis.call('ZSCORE', MARKS, epoch .. ':' .. mark) or nil)
  -- What is remembered must not contradict it.
  local proven = marked_at and q.last_grant_at <= marked_at - horizon_ms
  -- After a grant the window is never empty, unless it was evicted, deleted, or there was no limit.
  local lost = q.hold_until <= now and q.last_grant_at > now - horizon_ms and redis.call('EXISTS', WINDOW) == 0
  if forgot(q, newest_call) then lost, proven = q.hold_until <= now, false end
  if q.epoch == epoch and not lost and not (proven and q.hold_until > now) then return end
  q.epoch = epoch
  q.hold_until = proven and 0 or now + horizon_ms
  redis.call('HSET', QUOTA, 'epoch', epoch, 'hold_until', q.hold_until)
  if not proven then count('holds') end
end
