-- include: quota items waiting
-- Asks for items. A pending one is only raised; a new one is bounded by max_size unless critical.
-- args: policy, items = [{symbol, payload, solo?}], priority, max_size, version, revive (dead ones too: asked by hand),
--   invalid_ms (how long an invalid one rests),
--   batch? = {slot, planned_at_ms, next_at_ms, interval_ms, next_calls, ttl_ms, assets,
--     outcomes = {symbol: {status, error}}, what is known without a call}
-- Returns JSON: results = [[symbol, what, detail?]] with what = enqueued | raised | pending | refused | dead,
--   now_ms, waiting (a drain waits and was told), size; {exists: true} alone if that batch was begun before.
local batch = args.batch
if batch and redis.call('EXISTS', BATCH) == 1 then return cjson.encode({ exists = true, now_ms = now }) end

-- Why a dead symbol stays dead for this request; nil: it may live again.
local function still_dead(symbol)
  local raw = redis.call('HGET', DEAD_ITEMS, symbol)
  if not raw or args.revive then return nil end
  local read, dead = pcall(cjson.decode, raw)
  if not read or type(dead) ~= 'table' then return nil end
  if dead.kind == 'poison' then return 'poison: ' .. dead.reason end
  if dead.kind == 'invalid' and now - dead.died_at_ms < args.invalid_ms then return 'invalid: ' .. dead.reason end
end

local function raise(symbol, item)
  if batch then item.batch = batch.slot end
  local leased = redis.call('ZSCORE', LEASES, symbol)
  -- Nowhere, although pending: its key was evicted or deleted. It takes its old place.
  if not (leased or redis.call('ZSCORE', QUEUE, symbol) or redis.call('ZSCORE', DELAYED, symbol)) then
    put_in_queue(symbol, item, now)
  end
  local standing = leased and item.wanted_priority or item.priority
  if args.priority >= standing then
    if batch then save_item(symbol, item) end
    -- Urgent requests do not wait for a retry's delay, even at the same priority.
    if args.priority == CRITICAL and redis.call('ZREM', DELAYED, symbol) == 1 then put_in_queue(symbol, item, now) end
    return 'pending'
  end
  if leased then
    item.wanted_priority, item.wanted_score = args.priority, next_score(args.priority)
    save_item(symbol, item)
    return 'raised'
  end
  item.priority, item.score = args.priority, next_score(args.priority)
  save_item(symbol, item)
  if redis.call('ZSCORE', QUEUE, symbol) then
    redis.call('ZADD', QUEUE, item.score, symbol)
  elseif args.priority == CRITICAL then
    redis.call('ZREM', DELAYED, symbol)
    put_in_queue(symbol, item, now)
  end
  return 'raised'
end

local function add(request)
  local symbol = request.symbol
  if redis.call('SISMEMBER', PENDING, symbol) == 1 then
    local item = load_item(symbol)
    if item then return raise(symbol, item) end
    forget(symbol) -- an item that somebody deleted or damaged must not block its symbol
  end
  local dead = still_dead(symbol)
  if dead then return 'dead', dead end
  if args.priority ~= CRITICAL and redis.call('SCARD', PENDING) >= args.max_size then
    count('refused')
    return 'refused', 'the queue is full (' .. ms(args.max_size) .. ')'
  end
  local item = {
    payload = request.payload, priority = args.priority, enqueued_at_ms = now, attempts = 0, crashes = 0,
    solo = request.solo, score = next_score(args.priority), version = args.version, batch = batch and batch.slot,
  }
  redis.call('SADD', PENDING, symbol)
  save_item(symbol, item)
  put_in_queue(symbol, item, now)
  count('enqueued')
  return 'enqueued'
end

local results = {}
for i, request in ipairs(args.items) do
  local what, detail = add(request)
  results[i] = { request.symbol, what, detail }
end

if batch then
  note_reservation(quota_state())
  redis.call('HSET', BATCH, 'slot', batch.slot, 'planned_at_ms', ms(batch.planned_at_ms), 'started_at_ms', ms(now),
    'assets', cjson.encode(batch.assets))
  for symbol, outcome in pairs(batch.outcomes) do
    outcome.at_ms = now
    redis.call('HSET', BATCH, 'outcome:' .. symbol, cjson.encode(outcome))
  end
  for _, result in ipairs(results) do
    if result[2] == 'dead' then
      redis.call('HSET', BATCH, 'outcome:' .. result[1], cjson.encode({ status = 'failed', error = result[3], at_ms = now }))
    end
  end
  if redis.call('HLEN', BATCH) == 4 + #batch.assets then redis.call('HSET', BATCH, 'finished_at_ms', ms(now)) end
  redis.call('PEXPIRE', BATCH, ms(batch.ttl_ms))
  redis.call('ZADD', BATCHES, ms(batch.planned_at_ms), batch.slot)
  redis.call('ZREMRANGEBYSCORE', BATCHES, '-inf', ms(now - batch.ttl_ms))
  redis.call('PEXPIRE', BATCHES, ms(batch.ttl_ms))
  redis.call('HSET', QUOTA, 'batch_at', ms(batch.next_at_ms), 'batch_interval', ms(batch.interval_ms),
    'batch_calls', ms(batch.next_calls))
  note_reservation(quota_state())
  count('batches')
end

local at = next_event(quota_state())
return cjson.encode({ results = results, now_ms = now, size = redis.call('SCARD', PENDING), waiting = wake_if_sooner(at) })
