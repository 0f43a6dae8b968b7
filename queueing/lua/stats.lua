-- Read only: how much waits, by priority, and since when.
-- Reads: queue, overtaken, delayed, leases, dead, pending, items, window, quota, waiter.
-- Returns JSON: queued (per priority), delayed, leased, dead, pending, oldest_enqueued_at_ms, and the hint of claim.
local queued, oldest = {}, nil
for priority = CRITICAL, LOWEST do
  local low, high = band_scores(priority, priority)
  queued[priority] = redis.call('ZCOUNT', QUEUE, low, high)
  local head = redis.call('ZRANGEBYSCORE', QUEUE, low, high, 'LIMIT', 0, 1)
  local item = head[1] and load_item(head[1])
  if item and (not oldest or item.enqueued_at_ms < oldest) then oldest = item.enqueued_at_ms end
end
-- Behind the heads may stand older requests, which were raised or retried.
for _, symbol in ipairs(redis.call('ZRANGE', OVERTAKEN, 0, 19)) do
  local item = redis.call('ZSCORE', QUEUE, symbol) and load_item(symbol)
  if item and (not oldest or item.enqueued_at_ms < oldest) then oldest = item.enqueued_at_ms end
end
return answer(hinted({ queued = queued, delayed = redis.call('ZCARD', DELAYED), leased = redis.call('ZCARD', LEASES),
  dead = redis.call('ZCARD', DEAD), pending = redis.call('SCARD', PENDING), oldest_enqueued_at_ms = told(oldest),
  waiting = a_drain_waits() }, next_event(quota_state())))
