-- Read only: the quota as it stands.
-- args: permits (how many to list).
-- Reads: quota, window, waits.
-- Returns JSON: permits = [call id, until ms, ...] of those that end first, in_use, free (-1: no limit), now_ms,
-- epoch_known, hold_until_ms, blocked_until_ms, blocked_reason, batch_at_ms, batch_calls, urgent / background = {at ms,
-- reason} of the next call, waits_last_hour, urgent_run, answer_ms, policy (that is stored), policy_until_ms (the
-- caller's is another one until then at least), clock_ahead_ms, breaker = {failures, since_ms (0: closed),
-- probe_at_ms, probing, reason}.
local HOUR_MS = 3600000
local q = quota_state()
local in_use = permits_in_use()
local texts = redis.call('HMGET', QUOTA, 'blocked_reason', 'open_since', 'open_reason')
local open = q.open_until > 0
local urgent_at, urgent_reason = call_free_at(q, true)
local background_at, background_reason = call_free_at(q, false)
local permits = redis.call('ZRANGEBYSCORE', WINDOW, '(' .. ms(now), '+inf', 'WITHSCORES', 'LIMIT', 0, args.permits)
for i = 2, #permits, 2 do permits[i] = told(math.min(tonumber(permits[i]), END_MS)) end
return answer({
  permits = permits, in_use = in_use, free = policy.limit == 0 and -1 or math.max(0, policy.limit - in_use),
  epoch_known = policy.limit == 0 or q.epoch == known_epoch(q), hold_until_ms = told(q.hold_until),
  blocked_until_ms = told(q.blocked_until), blocked_reason = texts[1] or nil, batch_at_ms = told(q.batch_at),
  batch_calls = q.batch_calls, batch_interval_ms = q.batch_interval, urgent = { told(urgent_at), urgent_reason },
  background = { told(background_at), background_reason },
  waits_last_hour = redis.call('ZCOUNT', WAITS, now - HOUR_MS, '+inf'),
  urgent_run = q.urgent_run, answer_ms = q.answer_ms, policy = q.policy or nil,
  policy_until_ms = told(q.policy_until), clock_ahead_ms = ahead,
  breaker = { failures = #q.failed, since_ms = open and told(number_of(texts[2]) or now) or 0,
    probe_at_ms = open and told(math.max(q.open_until, q.probe_until)) or 0, probing = q.probe_until > now,
    reason = texts[3] or nil } })
