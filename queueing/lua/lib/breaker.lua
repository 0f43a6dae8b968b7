-- The circuit breaker: after failed calls for `breaker_after` different items, with no success in between, no call
-- goes until one probe finds that calls work again. lib/grants.lua keeps the others waiting.
-- A call is known by its first item. One item that fails again and again opens nothing, and spends its attempts alone.
local KEPT_BEYOND = 20

local function end_probe(q)
  redis.call('HDEL', QUOTA, 'probe', 'probe_until')
  q.probe, q.probe_until = false, 0
end

local function close_breaker(q)
  if q.open_until > 0 then
    q.closed_at = now
    redis.call('HSET', QUOTA, 'closed_at', now)
  end
  redis.call('HDEL', QUOTA, 'failed', 'open_until', 'open_ms', 'open_since', 'open_reason', 'probed')
  end_probe(q)
  q.failed, q.probed, q.open_until, q.open_ms = {}, false, 0, 0
end

local function open_breaker(q, reason, symbol)
  if q.open_until == 0 then
    q.open_ms = policy.breaker_first_ms
    redis.call('HSET', QUOTA, 'open_since', now)
    count('breaker_opened')
  else
    q.open_ms = math.min(q.open_ms * 2, policy.breaker_longest_ms)
  end
  q.open_until, q.probed = now + q.open_ms, symbol
  redis.call('HSET', QUOTA, 'open_until', q.open_until, 'open_ms', q.open_ms, 'open_reason', reason or '',
    'probed', symbol)
  end_probe(q)
end

local function note_failure(q, symbol)
  for _, known in ipairs(q.failed) do
    if known == symbol then return end
  end
  if #q.failed == policy.breaker_after + KEPT_BEYOND then table.remove(q.failed, 1) end
  q.failed[#q.failed + 1] = symbol
  redis.call('HSET', QUOTA, 'failed', cjson.encode(q.failed))
end

-- A probe is one item: the most urgent that has not failed, else one whose probe was not the last one, else any.
local function choose_probe(heads, q)
  local failed = {}
  for _, symbol in ipairs(q.failed) do failed[symbol] = true end
  local other
  for _, head in ipairs(heads) do
    if not failed[head.symbol] then return head end
    if head.symbol ~= q.probed then other = other or head end
  end
  return other or heads[1]
end

-- What a call that ended says about all calls. failed: true, false, or nil: nothing (it was not sent, or it cannot be
-- known). True if this call was kept from its answer by an open breaker: then its items are not to blame. A probe's
-- item is: it may be the one that the provider cannot serve.
local function judge_call(q, call_id, failed, symbol, reason)
  if policy.breaker_after == 0 then return false end
  local probing = q.open_until > 0 and q.probe == call_id
  if failed == false then
    if #q.failed > 0 or q.open_until > 0 then close_breaker(q) end
    return false
  end
  if failed == nil then
    if probing then end_probe(q) end -- undecided: the next call tries again
  elseif q.open_until == 0 or probing then -- else: sent before the breaker opened, and no news
    note_failure(q, symbol)
    if probing or #q.failed >= policy.breaker_after then open_breaker(q, reason, symbol) end
  end
  return q.open_until > 0 and not probing
end
