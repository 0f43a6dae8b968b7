-- needs: due waiting window
-- What time alone makes due, done by whichever process comes by: expired leases, delayed items, a clock that stepped
-- back.
-- args: poison_after.
-- Reads and writes: all keys but updates, waits, marks.
-- Returns JSON: moved, waiting (a drain waits), now_ms, next_at_ms, next_reason.
local moved = reap(args.poison_after)
local q = quota_state()
heal_clock(q)
local at, why = next_event(q)
return cjson.encode(hinted({ moved = moved, waiting = wake_if_sooner(at) }, at, why))
