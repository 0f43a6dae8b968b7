-- Grants one call without an item (the limiter used alone).
-- args: call_id, critical, idle_mark?
-- Reads and writes: quota, window, marks, counters.
-- Returns JSON: granted, now_ms; granted: send_by_ms; else next_at_ms, next_reason.
local q = quota_state()
check_policy(q)
check_epoch(q, args.idle_mark)
local at, why = call_free_at(q, args.critical)
if at > now then return answer({ granted = false, next_at_ms = told(at), next_reason = why }) end
grant(args.call_id, q, horizon_ms())
return answer({ granted = true, send_by_ms = wall + policy.send_ms })
