-- needs: items dead
-- What a request for an item does. `wish` is what all requests of one call share: priority, max_size, version,
-- revive, rest, slot? (of the batch that asks).
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
    item.wanted_priority, item.wanted_score = priority, next_score(priority)
  else
    item.priority, item.score = priority, next_score(priority)
  end
  save_item(symbol, item)
  if queued or (delayed and priority == CRITICAL) then queue_now(symbol, item) end
  return 'raised'
end

-- Returns what became of the request, and why not: enqueued | raised | pending | refused | dead.
local function ask(request, wish)
  local symbol = request.symbol
  if redis.call('SISMEMBER', PENDING, symbol) == 1 then
    local item = load_item(symbol)
    if item then return raise(symbol, item, wish) end
    forget({ symbol }) -- an item that was deleted or damaged must not block its symbol
  end
  local dead = read_dead(symbol)
  local why = not wish.revive and still_dead(dead, wish.rest)
  if why then return 'dead', why end
  if wish.priority ~= CRITICAL and redis.call('SCARD', PENDING) >= wish.max_size then
    count('refused')
    return 'refused', 'the queue is full (' .. ms(wish.max_size) .. ')'
  end
  local item = {
    payload = request.payload, priority = wish.priority, enqueued_at_ms = now, attempts = 0, crashes = 0,
    solo = request.solo or dead.solo, deaths = not wish.revive and dead.deaths or nil, score = next_score(wish.priority), version = wish.version, batch = wish.slot,
  }
  redis.call('SADD', PENDING, symbol)
  save_item(symbol, item)
  put_in_queue(symbol, item, now)
  count('enqueued')
  return 'enqueued'
end
