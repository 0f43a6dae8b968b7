-- What a request does to an item that is pending.
local function queue_now(symbol, item)
  redis.call('ZREM', DELAYED, symbol)
  put_in_queue(symbol, item, now)
end

-- A pending item keeps the more urgent of both requests.
local function raise(symbol, item, wish)
  local priority = wish.priority
  item.batch = wish.slot or item.batch
  local leased = redis.call('ZSCORE', LEASES, symbol)
  local delayed = redis.call('ZSCORE', DELAYED, symbol)
  local queued = redis.call('ZSCORE', QUEUE, symbol)
  -- Nowhere, although pending: its key was evicted or deleted. It takes its old place.
  if not (leased or delayed or queued) then
    put_in_queue(symbol, item, now)
    queued = true
  end
  if priority >= (leased and item.wanted_priority or item.priority) then
    if wish.slot then save_item(symbol, item) end
    -- Urgent requests do not wait for a retry's delay, even at the same priority.
    if priority == CRITICAL and delayed then queue_now(symbol, item) end
    return 'pending'
  end
  if leased then
    item.wanted_priority, item.wanted_score = priority, exact(next_score(priority))
  else
    item.priority, item.score = priority, exact(next_score(priority))
  end
  save_item(symbol, item)
  if queued or (delayed and priority == CRITICAL) then queue_now(symbol, item) end
  return 'raised'
end
