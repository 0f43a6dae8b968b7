-- include: quota items order waiting
-- Takes the call that is free now and leases the most urgent item(s) to it, in one step.
-- args: policy, token (also the call id), lease_ms, max_items, poison_after, version (the newest that this worker
--   knows), drain?, max_wait_ms?, idle_mark?
-- Returns JSON: status granted | wait | empty; granted: items (most urgent first), token, lease_until_ms,
-- send_by_ms (grant + send budget); always now_ms, and where work exists next_at_ms, next_reason,
-- waiter (this drain waits now), waiting (another one does), held_by? (why the most urgent item got no call),
-- poisoned? (see reap).
local _, poisoned = reap()
local q = quota_state()
heal_clock(q)
check_epoch(q, args.idle_mark)

local heads, newer = known_heads(args.max_items)
local first = heads[1]
if not first and newer then -- nothing for this worker: it must neither wait for these nor turn in a circle
  stop_waiting(args.drain)
  count('waits:version')
  return cjson.encode({ status = 'wait', now_ms = now, next_at_ms = now + NEWER_MS, next_reason = 'version', poisoned = poisoned })
end
if not first then
  local reply = { status = redis.call('SCARD', PENDING) > 0 and 'wait' or 'empty', poisoned = poisoned }
  return with_hint(reply, q)
end

local critical = first.item.priority == CRITICAL
local busy = places()
local free_at, reason = call_free_at(q, busy, critical)
if free_at > now then
  if critical and reason ~= 'breaker' then redis.call('HSETNX', QUOTA, 'critical_waits_since', ms(now)) end
  count('waits:' .. reason)
  return with_hint({ status = 'wait', held_by = reason, poisoned = poisoned }, q)
end

-- Slot-seconds in which this call was free, work was there, and nobody took it.
local free_since = take_place(args.token, q)
local eligible_at = math.max(free_since, q.ready_since, q.reserved_until)
if policy.limit > 0 and eligible_at < now then count('idle_ms', ms(now - eligible_at)) end
count('granted:' .. first.item.priority)
if critical then
  local since = tonumber(redis.call('HGET', QUOTA, 'critical_waits_since') or now)
  if now - since > 1000 then
    redis.call('ZADD', WAITS, ms(now), args.token)
    redis.call('ZREMRANGEBYSCORE', WAITS, '-inf', ms(now - 3600000))
    redis.call('PEXPIRE', WAITS, 3600000)
  end
end
redis.call('HDEL', QUOTA, 'critical_waits_since')

-- An item that was in a lease with others that expired goes alone, to find out which one kills workers.
local taken = {}
for i, head in ipairs(heads) do
  local alone = head.item.solo
  if i == 1 or not alone then taken[#taken + 1] = head end
  if i == 1 and alone then break end
end
local lease_until = now + args.lease_ms
local items = {}
for i, head in ipairs(taken) do
  local item = head.item
  item.token, item.lease_size = args.token, #taken
  redis.call('ZREM', QUEUE, head.symbol)
  redis.call('ZADD', LEASES, ms(lease_until), head.symbol)
  save_item(head.symbol, item)
  item.symbol = head.symbol
  items[i] = item
end
if queued_in(CRITICAL, LOWEST) == 0 then redis.call('HDEL', QUOTA, 'ready_since') end
return with_hint({ status = 'granted', items = items, token = args.token, poisoned = poisoned,
  lease_until_ms = lease_until, send_by_ms = now + policy.send_ms }, q, true)
