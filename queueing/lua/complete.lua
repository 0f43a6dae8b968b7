-- include: quota work breaker
-- Ends leased items well: publishes their events, frees them, and says when to claim again.
-- args: policy, token, granted_at_ms, sent, answered, done = [{symbol, channel?, event?}], stream_max, slot?, drain?, max_wait_ms?
-- Returns JSON: lost (symbols whose lease is not this token's: nothing was done for them), the hint of claim,
-- or {slot, symbol} alone when a leased item has meanwhile joined another batch: nothing was done, call again with its record.
local q = quota_state()
local mine, lost = {}, {}
for _, done in ipairs(args.done) do
  local item = load_item(done.symbol)
  if item and item.token == args.token then
    if item.batch and item.batch ~= args.slot then return cjson.encode({ slot = item.batch, symbol = done.symbol }) end
    mine[#mine + 1] = { done = done, item = item }
  else
    lost[#lost + 1] = done.symbol
  end
end
note_reservation(q)
if args.sent then settle(args.token, args.answered) end
judge_call(q, false)
batch_call(mine)
for _, m in ipairs(mine) do
  local symbol = m.done.symbol
  forget(symbol)
  redis.call('ZREM', DEAD, symbol)
  redis.call('HDEL', DEAD_ITEMS, symbol)
  batch_outcome(m.item, symbol, { status = 'updated' })
  count('completed')
  if m.done.event then
    redis.call('XADD', UPDATES, 'MAXLEN', '~', ms(args.stream_max), '*', 'event', m.done.event)
    redis.call('PUBLISH', m.done.channel, m.done.event)
  end
end
return with_hint({ lost = lost }, q)
