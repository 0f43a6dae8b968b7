-- include: quota items waiting ending breaker
-- Ends leased items well: publishes their events, frees them, and says when to claim again.
-- args: policy, token, granted_at_ms, sent, answered, done = [{symbol, channel?, event?}], stream_max, slot?, drain?, max_wait_ms?
-- Returns JSON: lost (symbols whose lease is not this token's: nothing was done for them), the hint of claim,
-- or {slot, symbol} alone when a leased item has meanwhile joined another batch: nothing was done, call again with its record.
local q = quota_state()
local mine, lost, other = own_rows(args.done)
if other then return other end
note_reservation(q)
if args.sent then settle(args.token, args.answered) end
judge_call(q, false)
batch_call(mine)
for _, m in ipairs(mine) do
  local symbol = m.row.symbol
  forget(symbol)
  redis.call('ZREM', DEAD, symbol)
  redis.call('HDEL', DEAD_ITEMS, symbol)
  batch_outcome(m.item, symbol, { status = 'updated' })
  count('completed')
  if m.row.event then
    redis.call('XADD', UPDATES, 'MAXLEN', '~', ms(args.stream_max), '*', 'event', m.row.event)
    redis.call('PUBLISH', m.row.channel, m.row.event)
  end
end
return with_hint({ lost = lost }, q)
