-- include: quota items waiting ending breaker
-- Ends a call: each leased item gets a verdict, events are published, and the reply says when to claim again.
-- args: policy, token, granted_at_ms, sent, answered, failed?, stream_max, slot?, drain?, max_wait_ms?,
--   verdicts = [{symbol, verb, ...}] with
--   verb done:      channel?, event?            (out of queue and dead letters; the event is published)
--   verb retry:     delay_ms, priority, error   (counts an attempt; runs again later, with a new score)
--   verb give_back: delay_ms?, error?, solo?    (no attempt counted; the original score)
--   verb bury:      kind, error                 (into the dead letters, out of the dedup)
-- failed: the call failed for reasons that are not its items' (true), or showed that calls work (false); feeds the
-- breaker. While that is open items come back as they were: waiting for the provider is no error of theirs.
-- Returns JSON: lost (symbols whose lease is not this token's: nothing was done for them), the hint of claim,
-- or {slot, symbol} alone when a leased item has meanwhile joined another batch: nothing was done, call again with its record.
local q = quota_state()
local mine, lost, other = own_rows(args.verdicts)
if other then return other end
note_reservation(q)
if args.sent then settle(args.token, args.answered) end
local waits = judge_call(q, args.failed, args.verdicts[1] and args.verdicts[1].error)
batch_call(mine)

local function finish(symbol, item, row)
  forget(symbol)
  redis.call('ZREM', DEAD, symbol)
  redis.call('HDEL', DEAD_ITEMS, symbol)
  batch_outcome(item, symbol, { status = 'updated' })
  count('completed')
  if row.event then
    redis.call('XADD', UPDATES, 'MAXLEN', '~', ms(args.stream_max), '*', 'event', row.event)
    redis.call('PUBLISH', row.channel, row.event)
  end
end

local function bury(symbol, item, row)
  item.attempts = item.attempts + 1
  batch_outcome(item, symbol, { status = 'failed', error = row.error })
  bury_item(symbol, item, row.kind, row.error)
end

local function come_back(symbol, item, row)
  if row.verb == 'retry' and not waits then
    item.attempts = item.attempts + 1
    item.crashes = 0 -- a worker lived through the whole of it: earlier deaths had another cause
    item.priority = row.priority
    item.score = next_score(row.priority)
    batch_outcome(item, symbol, { status = 'retrying', error = row.error })
    count('retried')
  else
    item.solo = row.solo or item.solo
    count('given_back')
  end
  apply_wanted(item)
  save_item(symbol, item)
  local delay_ms = row.verb == 'give_back' and row.delay_ms or not waits and row.delay_ms or 0
  if delay_ms > 0 then
    redis.call('ZADD', DELAYED, ms(now + delay_ms), symbol)
  else
    put_in_queue(symbol, item, now)
  end
end

for _, m in ipairs(mine) do
  local row, item, symbol = m.row, m.item, m.row.symbol
  if row.error then item.last_error = row.error end
  end_lease(symbol, item)
  if row.verb == 'done' then
    finish(symbol, item, row)
  elseif row.verb == 'bury' and not (waits and row.kind == 'transient') then
    bury(symbol, item, row)
  else
    come_back(symbol, item, row)
  end
end
return with_hint({ lost = lost }, q)
