-- needs: batches grants requests waiting
-- Asks for items. A pending one is only raised; a new one is bounded by max_size unless critical.
-- args: items = [{symbol, payload, solo?}], priority, max_size, version, revive (dead ones too: asked by hand),
--   rest = {invalid_ms, first_ms, longest_ms} (how long dead letters rest),
--   batch? = {slot, planned_at_ms, next_at_ms, interval_ms, next_calls, ttl_ms, assets, outcomes = {symbol: {status,
--     error?}}, what is known without a call}: begun with its first items; `last` says that these are the last
-- Reads and writes: all keys but window, waits, marks, updates.
-- Returns JSON: results = [[symbol, what, detail?]] with what = enqueued | raised | pending | refused | dead,
--   now_ms, waiting (a drain waits and was told), size; {exists: true} alone if all of that batch was asked for before.
local batch = args.batch
if batch and batch_is_enqueued(batch.slot) then return answer({ exists = true }) end

local q = quota_state()
if batch then
  note_reservation(q)
  begin_record(batch)
end
local wish = { priority = args.priority, max_size = args.max_size, version = args.version, revive = args.revive,
  rest = args.rest, slot = batch and batch.slot }
local results = {}
for i, request in ipairs(args.items) do
  local what, detail = ask(request, wish)
  results[i] = { request.symbol, what, detail }
  if what == 'dead' and batch then record_outcome(batch.slot, request.symbol, 'failed', detail) end
end

if batch then
  redis.call('HSET', QUOTA, 'batch_at', ms(batch.next_at_ms), 'batch_interval', ms(batch.interval_ms),
    'batch_calls', ms(batch.next_calls))
  q = quota_state()
  note_reservation(q)
  if batch.last then
    redis.call('HSET', RECORDS, batch.slot .. ':enqueued_at_ms', ms(wall))
    count('batches')
  end
end
local at = next_event(q)
return answer({ results = results, size = redis.call('SCARD', PENDING), waiting = wake_if_sooner(at) })
