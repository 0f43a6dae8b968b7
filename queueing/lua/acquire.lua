-- Grants one call without an item (the limiter used alone).
-- args: call_id, critical, idle_mark?
-- Reads and writes: quota, window, marks, counters.
-- Returns [now_ms, send_by_ms] if it is granted; else [now_ms, next_at_ms, next_reason].
local q = quota_state()
check_policy(q)
check_epoch(q, args.idle_mark)
local at, why = call_free_at(q, args.critical)
if at > now then return { wall, told(at), why } end
grant(args.call_id, q, horizon_ms, now)
return { wall, wall + policy.send_ms }
