-- What time alone makes due, done by whichever process comes by: expired leases, delayed items.
-- args: poison_after.
-- Reads and writes: all keys but updates, waits, marks.
-- Returns JSON: moved, waiting (a drain waits), now_ms, next_at_ms, next_reason.
local moved = reap(args.poison_after)
local at, why = next_event(quota_state())
return answer(hinted({ moved = moved, waiting = wake_if_sooner(at) }, at, why))
