-- Takes requests back: queued and delayed items are forgotten, leased ones are left to end. One of a batch has failed
-- there, so that nobody waits for it.
-- args: symbols.
-- Reads and writes: pending, leases, queue, delayed, items, quota, counters, batches, batches:records.
-- Returns the number that were taken back.
local cancelled = {}
for _, symbol in ipairs(args.symbols) do
  if redis.call('SISMEMBER', PENDING, symbol) == 1 and not redis.call('ZSCORE', LEASES, symbol) then
    cancelled[#cancelled + 1] = symbol
  end
end
for i, item in ipairs(load_items(cancelled)) do
  if item then record_outcome(item.batch, cancelled[i], 'failed', 'its request was taken back') end
end
forget(cancelled)
note_empty_queue()
count('cancelled', #cancelled)
return #cancelled
