-- Ends a call: each leased item gets a verdict, events are published, and the reply says when to claim again.
-- args: token, granted_at_ms, sent, answered, failed?, took_ms?, stream_max, drain?, max_wait_ms?,
--   verdicts = [{symbol, verb, ...}] with
--   verb done:      channel?, event?            (out of queue and dead letters; the event is published)
--   verb again:     priority, channel?, event?  (a part is done: behind all of that band, a fresh item)
--   verb retry:     delay_ms, priority, error   (counts an attempt; runs again later, with a new score)
--   verb give_back: delay_ms?, error?, solo?, group?  (no attempt counted; the original score)
--   verb bury:      kind, error                 (into the dead letters, out of the dedup)
--   leading: the most urgent item of the claim, by which the circuit breaker knows the call;
--   failed: the call failed for reasons that are not its items' (true), or showed that calls work (false); feeds the
--   circuit breaker.
-- Reads and writes: all keys but marks, waits.
-- Returns JSON: lost (symbols whose lease is not this token's: nothing was done for them), and the hint of claim.
local q = quota_state()
note_reservation(q)
if args.sent and q.policy_until <= now then settle(args.token, args.answered) end
local reason
for _, row in ipairs(args.verdicts) do reason = reason or row.error end
local provider_away = judge_call(q, args.token, args.failed, args.leading, reason)

local symbols, lost, done, batches, tally = {}, {}, {}, {}, {}
for i, row in ipairs(args.verdicts) do symbols[i] = row.symbol end
local items = load_items(symbols)
for i, row in ipairs(args.verdicts) do
  local item = items[i]
  if item and item.token == args.token then
    if item.batch and not batches[item.batch] then -- one call, however many of its items are of this batch
      batches[item.batch] = true
      record_call(item.batch, args.granted_at_ms)
    end
    if row.verb == 'done' then done[#done + 1] = row.symbol end
    if (row.verb == 'done' or row.verb == 'again') and args.sent then
      local waited_ms = args.granted_at_ms + ahead - item.enqueued_at_ms
      observe(tally, 'wait:' .. item.priority, waited_ms, WAIT_BOUNDS)
    end
    end_item(row.symbol, item, row, provider_away, args.stream_max)
  else
    lost[#lost + 1] = row.symbol
  end
end
if #done > 0 then
  forget(done)
  forget_dead(done)
  count('completed', #done)
end
if args.took_ms and #lost < #args.verdicts then -- an end that is told twice is one call
  observe(tally, 'call:' .. (args.failed and 'failed' or 'ok'), args.took_ms, CALL_BOUNDS)
end
for _, slot in ipairs(finished) do
  local started_at_ms = cjson.decode(redis.call('HGET', BATCH_RECORDS, slot)).started_at_ms
  observe(tally, 'batch:', wall - started_at_ms, BATCH_BOUNDS)
end
keep_timings(tally)
if args.answered and #lost < #symbols then note_answer(q, wall - args.granted_at_ms) end
remember_score()
return reply_to_drain({ lost = lost }, q, args.drain, args.max_wait_ms)
