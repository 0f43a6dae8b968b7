-- Asks for items. A pending one is only raised; a new one is bounded by max_size unless critical.
-- args: items = [symbol, payload, solo (true or false), symbol, ...], priority, max_size, version,
--   revive (dead ones too: asked by hand), rest = {invalid_ms, first_ms, longest_ms} (how long dead letters rest),
--   batch? = {slot, planned_at_ms, next_at_ms, interval_ms, next_calls, ttl_ms, assets, outcomes = {symbol: {status,
--     error?}}, what is known without a call}: begun with its first items; `last` says that these are the last
-- Reads and writes: all keys but window, waits, marks, updates.
-- Returns [now_ms, size, waiting (1: a drain waits, and was told), outcomes, reason, ...]: a letter for each item
--   (e enqueued, r raised, p pending, f refused, d dead), then the reasons of those refused and dead, in order;
--   [now_ms] alone if all of that batch was asked for before.
local batch = args.batch
if batch and batch_is_enqueued(batch.slot) then return { wall } end

if batch then
  note_reservation(quota_state())
  begin_record(batch)
end
local outcomes, reasons = ask_all(args.items, { priority = args.priority, max_size = args.max_size,
  version = args.version, revive = args.revive, rest = args.rest, slot = batch and batch.slot })

if batch then
  redis.call('HSET', QUOTA, 'batch_at', batch.next_at_ms, 'batch_interval', batch.interval_ms,
    'batch_calls', batch.next_calls)
  note_reservation(quota_state())
  if batch.last then
    redis.call('HSET', BATCH_RECORDS, batch.slot .. ':enqueued_at_ms', wall)
    count('batches')
  end
end
local waiting = a_drain_waits() and wake_if_sooner((next_event(quota_state())))
return { wall, redis.call('SCARD', PENDING), waiting and 1 or 0, outcomes, unpack(reasons) }
