-- A drain leaves. It looks at tokens and queue in the same step, so that no wake-up falls between.
-- args: drain.
-- Reads: queue, delayed, leases, window, quota. Writes: waiter, wake.
-- Returns JSON: woken (it was the waiting one and tokens were there, now taken), waiting (another drain waits, and was
-- told of what this one leaves), now_ms, next_at_ms, next_reason.
local woken = redis.call('GET', WAITER) == args.drain and redis.call('DEL', WAKE) == 1
stop_waiting(args.drain)
local at, why = next_event(quota_state())
return answer(hinted({ woken = woken, waiting = wake_if_sooner(at) }, at, why))
