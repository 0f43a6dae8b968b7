-- include: quota items waiting ending breaker
-- Ends leased items otherwise: retry later, give back unchanged, or bury. One verb per item.
-- args: policy, token, granted_at_ms, sent, answered, failed?, slot?, drain?, max_wait_ms?, back = [{symbol, verb, ...}] with
--   verb retry:     delay_ms, priority, error   (counts an attempt; runs again later, with a new score)
--   verb give_back: delay_ms?, cursor?, error?, solo?  (no attempt counted; the original score)
--   verb bury:      kind, error                 (into the dead letters, out of the dedup)
-- failed: the call failed for reasons that are not its items' (true), or showed that calls work (false); feeds the
-- breaker. While that is open items come back as they were: waiting for the provider is no error of theirs.
-- Returns JSON as complete does: lost, hint; or {slot, symbol} alone, nothing done.
local q = quota_state()
local mine, lost, other = own_rows(args.back)
if other then return other end
note_reservation(q)
if args.sent then settle(args.token, args.answered) end
local waits = judge_call(q, args.failed, args.back[1] and args.back[1].error)
batch_call(mine)
for _, m in ipairs(mine) do
  local back, item, symbol = m.row, m.item, m.row.symbol
  if back.error then item.last_error = back.error end
  end_lease(symbol, item)
  if waits and (back.verb == 'retry' or back.kind == 'transient') then back = { verb = 'give_back' } end
  if back.verb == 'bury' then
    item.attempts = item.attempts + 1
    batch_outcome(item, symbol, { status = 'failed', error = back.error })
    bury_item(symbol, item, back.kind, back.error)
  else
    if back.verb == 'retry' then
      item.attempts = item.attempts + 1
      item.crashes = 0 -- a worker lived through the whole of it: earlier deaths had another cause
      item.priority = back.priority
      item.score = next_score(back.priority)
      batch_outcome(item, symbol, { status = 'retrying', error = back.error })
      count('retried')
    else
      item.cursor = back.cursor or item.cursor
      item.solo = back.solo or item.solo
      count('given_back')
    end
    apply_wanted(item)
    save_item(symbol, item)
    if (back.delay_ms or 0) > 0 then
      redis.call('ZADD', DELAYED, ms(now + back.delay_ms), symbol)
    else
      put_in_queue(symbol, item, now)
    end
  end
end
return with_hint({ lost = lost }, q)
