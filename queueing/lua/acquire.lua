-- include: quota
-- Takes one call without an item (the limiter used alone).
-- args: policy, call_id, critical, idle_mark?
-- Returns JSON: granted, now_ms; granted: send_by_ms; else next_at_ms, next_reason.
local q = quota_state()
heal_clock(q)
check_epoch(q, args.idle_mark)
local busy = places()
local at, why = call_free_at(q, busy, args.critical)
if at > now then return cjson.encode({ granted = false, now_ms = now, next_at_ms = at, next_reason = why }) end
take_place(args.call_id, q)
return cjson.encode({ granted = true, now_ms = now, send_by_ms = now + policy.send_ms })
