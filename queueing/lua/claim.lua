-- Takes the call that is free now and leases the most urgent item(s) to it, in one step.
-- args: token (also the call id), lease_ms, max_items, poison_after, version (the newest that this worker knows),
--   drain?, max_wait_ms?, idle_mark?, newest_call? = {token, at_ms} (a call that is known elsewhere)
-- Reads and writes: all keys but updates.
-- Returns JSON: status wait | empty, now_ms, and where work exists next_at_ms, next_reason, waiter (this drain waits
-- now), waiting (another one does), held_by? (why the most urgent item got no call);
-- granted: [that JSON with status granted, lease_until_ms, send_by_ms (grant + send budget) and ahead (by how much the
-- times in items are ahead of Redis' clock), symbol, item, symbol, item, ...], most urgent first, as they are kept.
local NEWER_MS, LONG_WAIT_MS, HOUR_MS = 2000, 1000, 3600000
reap(args.poison_after)
local q = quota_state()
check_policy(q)
check_epoch(q, args.idle_mark, args.newest_call)

local function reply(fields, busy_now, critical)
  return reply_to_drain(fields, q, args.drain, args.max_wait_ms, busy_now, critical)
end

local probing = q.open_until > 0
local heads, newer = known_heads(probing and #q.failed + 1 or args.max_items, args.version)
if probing then heads = { choose_probe(heads, q) } end
if share_is_due(q) and heads[1] and heads[1].item.priority == CRITICAL and queued_in(CRITICAL + 1, LOWEST - 1) > 0 then
  local others = known_heads(args.max_items, args.version, CRITICAL + 1, LOWEST - 1)
  if others[1] then heads = others end
end
local first = heads[1]
if not first and newer then -- nothing for this worker: it must neither wait for these nor turn in a circle
  stop_waiting(args.drain)
  count('waits:version')
  return answer(hinted({ status = 'wait' }, now + NEWER_MS, 'version'))
end
if not first then return reply({ status = redis.call('SCARD', PENDING) > 0 and 'wait' or 'empty' }) end

local critical = first.item.priority == CRITICAL
local free_at, reason = call_free_at(q, critical)
if free_at > now then
  count('waits:' .. reason)
  local foreseen = nil
  if newer then foreseen = critical end -- what others know does not make this worker's next call come sooner
  return reply({ status = 'wait', held_by = reason }, false, foreseen)
end

local allowed_since, free_since = grant(args.token, q, args.lease_ms)
local ready_since = math.max(first.item.enqueued_at_ms, q.ready_since)
-- Slot-seconds in which this permit was free, its item was there, and the call was not made.
local could_at = math.min(now, math.max(free_since, ready_since, q.reserved_until))
redis.call('HSET', QUOTA, 'could_at', ms(could_at))
if policy.limit > 0 and could_at < now then count('idle_ms', ms(now - could_at)) end
note_share(q, critical)
count('granted:' .. first.item.priority)
if critical and policy.limit > 0 and math.min(now, allowed_since) - ready_since > LONG_WAIT_MS then
  redis.call('ZADD', WAITS, ms(now), args.token)
  redis.call('ZREMRANGEBYSCORE', WAITS, '-inf', ms(now - HOUR_MS))
  redis.call('PEXPIRE', WAITS, HOUR_MS)
end

-- Items share a call with those of their group only; a solo one (it may kill workers) with none.
local taken = { first }
for i = 2, first.item.solo and 0 or #heads do
  local item = heads[i].item
  if not item.solo and item.group == first.item.group then taken[#taken + 1] = heads[i] end
end
local symbols, leases, leased = {}, {}, {}
for i, head in ipairs(taken) do
  symbols[i] = head.symbol
  leases[2 * i - 1], leases[2 * i] = now + args.lease_ms, head.symbol
  leased[2 * i - 1], leased[2 * i] = head.symbol, with_lease(head, args.token, #taken)
end
leave_queue(symbols)
call_many('ZADD', LEASES, leases)
call_many('HSET', ITEMS, leased)
note_empty_queue()
return { reply({ status = 'granted', lease_until_ms = wall + args.lease_ms, send_by_ms = wall + policy.send_ms,
  ahead = ahead }, true), unpack(leased) }
