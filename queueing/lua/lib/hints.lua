-- When to claim again, and why not before.

-- The earliest time at which a claim could be answered differently, and why not before; nil: no work.
-- critical: whether the most urgent item that this worker knows is; nil: as the whole queue says.
local function next_event(q, critical)
  local best, why
  if queued_in(CRITICAL, LOWEST) > 0 then
    if critical == nil then critical = reservable(q) and queued_in(CRITICAL, CRITICAL) > 0 end
    best, why = call_free_at(q, critical)
    if best <= now then return now, why end
  end
  local function consider(key, reason)
    local at = tonumber(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2])
    if at and (not best or at < best) then best, why = at, reason end
  end
  consider(DELAYED, 'delayed')
  consider(LEASES, 'leased')
  return best and math.min(math.max(best, now), END_MS), why
end

-- A reply with its hint: when to claim again and why not before.
local function hinted(reply, at, why)
  reply.next_at_ms, reply.next_reason = told(at), why
  return reply
end

-- The reply to a drain: its hint, and whether this drain is the one that waits for it (`waiter`) or another one does
-- (`waiting`). A drain that is busy now leaves the next call to the waiting one.
local function reply_to_drain(reply, q, drain, max_wait_ms, busy_now, critical)
  local at, why = next_event(q, critical)
  hinted(reply, at, why)
  note_reservation(q)
  if at and at > now and not busy_now and become_waiter(drain, at, max_wait_ms) then
    reply.waiter = true
  else
    stop_waiting(drain)
    if busy_now or not drain or (at and at > now) then reply.waiting = wake_if_sooner(at) end
  end
  return answer(reply)
end
