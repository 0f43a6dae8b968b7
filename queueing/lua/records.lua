-- Read only: what the records of the newest batches hold but for the outcomes.
-- args: count, slot? (this one alone).
-- Reads: batches, batches:records.
-- Returns [slot, head, calls, first_call_at_ms, finished_at_ms, ...], five values a record, newest first; false for
-- what a record has not.
local slots = args.slot and { args.slot } or redis.call('ZREVRANGE', BATCHES, 0, args.count - 1)
local reply = {}
for _, slot in ipairs(slots) do
  local fields = redis.call('HMGET', BATCH_RECORDS, slot, slot .. ':calls', slot .. ':first_call_at_ms',
    slot .. ':finished_at_ms')
  reply[#reply + 1] = slot
  for i = 1, 4 do reply[#reply + 1] = fields[i] end
end
return reply
