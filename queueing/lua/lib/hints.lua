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

-- Tells the drains when to claim again and why not before. Returns that, whether this drain is the one that waits for it,
-- and whether another one does. A drain that is busy now leaves the next call to the waiting one.
local function tell_drains(q, drain, max_wait_ms, busy_now, critical)
  local at, why = next_event(q, critical)
  note_reservation(q)
  local later = at and at > now
  if later and not busy_now and become_waiter(drain, at, max_wait_ms) then return at, why, true, false end
  if busy_now or later or not drain then return at, why, false, wake_if_sooner(at, drain) end
  stop_waiting(drain)
  return at, why, false, false
end

-- The reply to a drain that has nothing to do now.
local function reply_to_drain(reply, q, drain, max_wait_ms, critical)
  local at, why, waiter, waiting = tell_drains(q, drain, max_wait_ms, false, critical)
  reply.waiter, reply.waiting = waiter, waiting
  return answer(hinted(reply, at, why))
end
