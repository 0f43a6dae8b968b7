-- include: quota items waiting
-- Read only: when can a claim next be answered differently, and what holds it until then?
-- args: policy. Returns JSON: now_ms, next_at_ms and next_reason (absent: no work), waiting.
local at, why = next_event(quota_state())
return cjson.encode({ now_ms = now, next_at_ms = at, next_reason = why, waiting = redis.call('EXISTS', WAITER) == 1 })
