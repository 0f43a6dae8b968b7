-- include: quota items waiting
-- Read only: how much waits, by priority, and since when.
-- args: policy. Returns JSON: queued (per priority), delayed, leased, dead, pending, oldest_enqueued_at_ms, now_ms, hint.
local queued, oldest = {}, nil
for priority = CRITICAL, LOWEST do
  local low, high = ms(priority * BAND), '(' .. ms((priority + 1) * BAND)
  queued[priority] = redis.call('ZCOUNT', QUEUE, low, high)
  local head = redis.call('ZRANGEBYSCORE', QUEUE, low, high, 'LIMIT', 0, 1)
  local item = head[1] and load_item(head[1])
  if item and (not oldest or item.enqueued_at_ms < oldest) then oldest = item.enqueued_at_ms end
end
local at, why = next_event(quota_state())
return cjson.encode({ queued = queued, delayed = redis.call('ZCARD', DELAYED), leased = redis.call('ZCARD', LEASES),
  dead = redis.call('ZCARD', DEAD), pending = redis.call('SCARD', PENDING), oldest_enqueued_at_ms = oldest,
  now_ms = now, next_at_ms = at, next_reason = why, waiting = redis.call('EXISTS', WAITER) == 1 })
