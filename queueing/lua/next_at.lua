-- Read only: when can a claim next be answered differently, and what holds it until then?
-- Reads: queue, delayed, leases, window, quota, waiter.
-- Returns JSON: now_ms, next_at_ms and next_reason (absent: no work), waiting.
return answer(hinted({ waiting = a_drain_waits() }, next_event(quota_state())))
