-- include: quota items waiting
-- What time alone makes due, done by whoever passes: expired leases, delayed items, a clock that stepped back.
-- args: policy, poison_after. Returns JSON: moved, waiting (a drain waits), now_ms, next_at_ms, next_reason,
-- poisoned? = [[symbol, slot, error]], what the records of their batches must be told.
local moved, poisoned = reap()
local q = quota_state()
heal_clock(q)
local at, why = next_event(q)
return cjson.encode({ moved = moved, poisoned = poisoned, waiting = wake_if_sooner(at), now_ms = now, next_at_ms = at, next_reason = why })
