-- needs: grants epoch window
-- Grants one call without an item (the limiter used alone).
-- args: call_id, critical, idle_mark?
-- Reads and writes: quota, window, marks, counters.
-- Returns JSON: granted, now_ms; granted: send_by_ms; else next_at_ms, next_reason.
local q = quota_state()
heal_clock(q)
check_epoch(q, args.idle_mark)
local at, why = call_free_at(q, args.critical)
if at > now then return cjson.encode({ granted = false, now_ms = now, next_at_ms = at, next_reason = why }) end
grant(args.call_id, q, horizon_ms())
return cjson.encode({ granted = true, now_ms = now, send_by_ms = now + policy.send_ms })
