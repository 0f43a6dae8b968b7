-- Takes the call that is free now and leases the most urgent item(s) to it.
local NEWER_MS, LONG_WAIT_MS, KEPT_WAITS_MS = 2000, 1000, 3600000

-- The items that the call goes to, most urgent first, and whether others are left to workers of a newer version.
local function heads_for_call(asked, q)
  local probing = q.open_until > 0
  local heads, newer = known_heads(probing and #q.failed + 1 or asked.max_items, asked.version)
  if probing then heads = { choose_probe(heads, q) } end
  if share_is_due(q) and heads[1] and heads[1].item.priority == CRITICAL and queued_in(CRITICAL + 1, LOWEST - 1) > 0 then
    local others = known_heads(asked.max_items, asked.version, CRITICAL + 1, LOWEST - 1)
    if others[1] then heads = others end
  end
  return heads, newer
end

-- Grants the call to the item, and counts what it waited for.
local function grant_to(item, asked, q)
  local critical = item.priority == CRITICAL
  local ready_since = math.max(item.enqueued_at_ms, work_ready_since())
  local allowed_since, could_at = grant(asked.token, q, asked.lease_ms, ready_since)
  -- Slot-seconds in which this permit was free, its item was there, and the call was not made.
  if policy.limit > 0 and could_at < now then count('idle_ms', ms(now - could_at)) end
  note_share(q, critical)
  count('granted:' .. item.priority)
  if critical and policy.limit > 0 and math.min(now, allowed_since) - ready_since > LONG_WAIT_MS then
    redis.call('ZADD', WAITS, now, asked.token)
    redis.call('ZREMRANGEBYSCORE', WAITS, '-inf', now - KEPT_WAITS_MS)
    redis.call('PEXPIRE', WAITS, KEPT_WAITS_MS)
  end
end

-- Items share a call with those of their group only; a solo one (it may kill workers) with none.
-- Returns symbol, text, symbol, ... of those that are leased.
local function lease_heads(heads, asked)
  local first, taken = heads[1], { heads[1] }
  for i = 2, first.item.solo and 0 or #heads do
    local item = heads[i].item
    if not item.solo and item.group == first.item.group then taken[#taken + 1] = heads[i] end
  end
  local symbols, leases, leased, old = {}, {}, {}, {}
  for i, head in ipairs(taken) do
    symbols[i] = head.symbol
    if is_overtaken(head.score, head.item) then old[#old + 1] = head.symbol end
    leases[2 * i - 1], leases[2 * i] = now + asked.lease_ms, head.symbol
    leased[2 * i - 1], leased[2 * i] = head.symbol, with_lease(head, asked.token, #taken)
  end
  call_many('ZREM', QUEUE, symbols)
  call_many('ZREM', OVERTAKEN, old)
  call_many('ZADD', LEASES, leases)
  call_many('HSET', ITEMS, leased)
  note_empty_queue()
  return leased
end

-- asked: the arguments of claim.lua, whose reply this returns. q?: the state of the quota, if it was read in this step.
local function claim_call(asked, q)
  reap(asked.poison_after)
  q = q or quota_state()
  check_policy(q)
  check_epoch(q, asked.idle_mark, asked.newest_call)

  local heads, newer = heads_for_call(asked, q)
  local first = heads[1]
  if not first and newer then -- nothing for this worker: it must neither wait for these nor turn in a circle
    stop_waiting(asked.drain)
    count('waits:version')
    return answer(hinted({ status = 'wait' }, now + NEWER_MS, 'version'))
  end
  if not first then
    local status = redis.call('SCARD', PENDING) > 0 and 'wait' or 'empty'
    return reply_to_drain({ status = status }, q, asked.drain, asked.max_wait_ms)
  end

  local critical = first.item.priority == CRITICAL
  local free_at, reason = call_free_at(q, critical)
  if free_at > now then
    count('waits:' .. reason)
    local foreseen = nil
    if newer then foreseen = critical end -- what others know does not make this worker's next call come sooner
    return reply_to_drain({ status = 'wait', held_by = reason }, q, asked.drain, asked.max_wait_ms, foreseen)
  end

  grant_to(first.item, asked, q)
  local leased = lease_heads(heads, asked)
  local at, why, _, waiting = tell_drains(q, asked.drain, asked.max_wait_ms, true)
  return { wall, wall + policy.send_ms, wall + asked.lease_ms, ahead, at and math.ceil(told(at)) or false, why or false,
    waiting and 1 or 0, unpack(leased) }
end
