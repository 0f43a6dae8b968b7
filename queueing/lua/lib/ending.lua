-- Ends a call: each of its items gets a verdict, and the call is judged, settled and counted.

-- What the call says about all calls. True: the provider is away, and the items are not to blame.
local function judge(ended, q)
  note_reservation(q)
  if ended.sent and q.policy_until <= now then settle(ended.token, ended.answered) end
  local reason
  for _, row in ipairs(ended.verdicts) do reason = reason or row.error end
  return judge_call(q, ended.token, ended.failed, ended.leading, reason)
end

-- ended: the arguments of end.lua. Returns the symbols that were lost.
local function end_call(ended, q)
  local provider_away = judge(ended, q)
  local symbols, lost, done, batches, tally = {}, {}, {}, {}, {}
  for i, row in ipairs(ended.verdicts) do symbols[i] = row.symbol end
  local items = load_items(symbols)
  for i, row in ipairs(ended.verdicts) do
    local item = items[i]
    if item and item.token == ended.token then
      if item.batch and not batches[item.batch] then -- one call, however many of its items are of this batch
        batches[item.batch] = true
        record_call(item.batch, ended.granted_at_ms)
      end
      if row.verb == 'done' then done[#done + 1] = row.symbol end
      if (row.verb == 'done' or row.verb == 'again') and ended.sent then
        local waited_ms = ended.granted_at_ms + ahead - item.enqueued_at_ms
        observe(tally, 'wait:' .. item.priority, waited_ms, WAIT_BOUNDS)
      end
      end_item(row.symbol, item, row, provider_away, ended.stream_max)
    else
      lost[#lost + 1] = row.symbol
    end
  end
  if #done > 0 then
    forget(done)
    forget_dead(done)
    count('completed', #done)
  end
  if ended.took_ms and #lost < #symbols then -- an end that is told twice is one call
    observe(tally, 'call:' .. (ended.failed and 'failed' or 'ok'), ended.took_ms, CALL_BOUNDS)
  end
  for _, slot in ipairs(finished) do
    local started_at_ms = decoded(redis.call('HGET', BATCH_RECORDS, slot)).started_at_ms
    if in_range(started_at_ms) then observe(tally, 'batch:', wall - started_at_ms, BATCH_BOUNDS) end
  end
  keep_timings(tally)
  if ended.answered and #lost < #symbols then note_answer(q, wall - ended.granted_at_ms) end
  remember_score()
  return lost
end
