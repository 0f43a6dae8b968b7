-- include: quota
-- Read only: the quota as it stands.
-- args: policy. Returns JSON: places = [[call id, until ms]], free (-1: no limit), now_ms, epoch_known, hold_until_ms,
-- blocked_until_ms, blocked_reason, batch_at_ms, batch_calls, urgent / background = {at ms, reason} of the next call, waits_last_hour,
-- breaker = {failures, since_ms (0: closed), probe_at_ms, probing, reason}.
local q = quota_state()
local raw = redis.call('ZRANGE', WINDOW, 0, -1, 'WITHSCORES')
local taken = {}
for i = 1, #raw, 2 do
  if tonumber(raw[i + 1]) > now then taken[#taken + 1] = { raw[i], tonumber(raw[i + 1]) } end
end
local busy = places()
local known = policy.limit == 0 or q.epoch == server_epoch()
local urgent_at, urgent_reason = call_free_at(q, busy, true)
local background_at, background_reason = call_free_at(q, busy, false)
local open = redis.call('HMGET', QUOTA, 'open_since', 'open_reason')
local probing = q.probe_until > now
return cjson.encode({ breaker = { failures = q.failures, since_ms = q.open_until > 0 and tonumber(open[1] or now) or 0,
    probe_at_ms = q.open_until > 0 and math.max(q.open_until, q.probe_until) or 0, probing = probing, reason = open[2] or nil },
  places = taken, free = policy.limit == 0 and -1 or math.max(0, policy.limit - #busy), now_ms = now,
  epoch_known = known, hold_until_ms = q.hold_until, blocked_until_ms = q.blocked_until,
  blocked_reason = redis.call('HGET', QUOTA, 'blocked_reason') or nil, batch_at_ms = q.batch_at, batch_calls = q.batch_calls,
  urgent = { urgent_at, urgent_reason }, background = { background_at, background_reason },
  waits_last_hour = redis.call('ZCOUNT', WAITS, ms(now - 3600000), '+inf') })
