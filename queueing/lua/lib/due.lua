-- What time alone makes due: delayed items and expired leases.
local AT_ONCE = 100 -- entries that one script moves; the rest is due still, so the next one comes at once

local function due(key) return redis.call('ZRANGEBYSCORE', key, '-inf', now, 'WITHSCORES', 'LIMIT', 0, AT_ONCE) end

local function queue_delayed()
  local rows = due(DELAYED)
  for i = 1, #rows, 2 do
    local symbol, item = rows[i], load_item(rows[i])
    redis.call('ZREM', DELAYED, symbol)
    if item then put_in_queue(symbol, item, tonumber(rows[i + 1])) else discard(symbol) end
  end
  return #rows / 2
end

-- A crash counts towards poison only if the item was alone in its lease.
local function take_back(symbol, item, poison_after)
  local alone = item.lease_size == 1
  end_lease(symbol, item)
  if alone then item.crashes = item.crashes + 1 else item.solo = true end
  item.last_error = 'lease expired: the worker died or was stuck'
  if alone and item.crashes >= poison_after then
    local reason = string.format('%d workers died refreshing it alone', item.crashes)
    bury_item(symbol, item, 'poison', reason)
    return record_outcome(item.batch, symbol, 'failed', 'poison: ' .. reason)
  end
  apply_wanted(item)
  save_item(symbol, item)
  put_in_queue(symbol, item, now)
end

-- One lease is one call, also where its items come back in several passes: they lie beside each other.
local function count_lost_call(token, lost)
  if lost[token] then return end
  lost[token] = true
  if redis.call('HGET', QUOTA, 'lost_token') == token then return end
  redis.call('HSET', QUOTA, 'lost_token', token)
  count('lost_calls')
end

local function reap_leases(poison_after)
  local rows, lost = due(LEASES), {}
  for i = 1, #rows, 2 do
    local symbol, item = rows[i], load_item(rows[i])
    count('reaped')
    if not item then
      discard(symbol)
    else
      if item.token then count_lost_call(item.token, lost) end
      take_back(symbol, item, poison_after)
    end
  end
  return #rows / 2
end

-- Due delayed items go into the queue, expired leases end (bounded). Returns how many moved.
local function reap(poison_after)
  return queue_delayed() + reap_leases(poison_after)
end
