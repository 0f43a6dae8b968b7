-- The items: how one is kept, leased and forgotten.
local function in_range(number) return type(number) == 'number' and number >= 0 and number < BAND end

-- The text may leave out what is usual: no attempts, no crashes, version 1; and the score of a queued item, which
-- stands in QUEUE. nil: there is none, or it is not as the scripts write it (an external writer changed it).
local function read_item(raw)
  local item = decoded(raw)
  item.attempts, item.crashes = item.attempts or 0, item.crashes or 0
  local sound = in_range(item.priority) and in_range(item.enqueued_at_ms) and in_range(item.attempts)
    and in_range(item.crashes) and in_range(item.deaths or 0) and in_range(item.wanted_priority or 0)
    and (item.score == nil or number_of(item.score)) and type(item.payload) == 'string'
    and type(item.token or '') == 'string' and type(item.batch or '') == 'string'
  return sound and item or nil
end

local function load_item(symbol) return read_item(redis.call('HGET', ITEMS, symbol)) end

-- The items of the symbols; false for one that cannot be read.
local function load_items(symbols)
  local items = {}
  for from = 1, #symbols, 1000 do
    for _, raw in ipairs(redis.call('HMGET', ITEMS, unpack(symbols, from, math.min(from + 999, #symbols)))) do
      items[#items + 1] = read_item(raw) or false
    end
  end
  return items
end

local function save_item(symbol, item) redis.call('HSET', ITEMS, symbol, cjson.encode(item)) end

-- An urgent request that came while the item was leased takes effect when the item comes back.
local function apply_wanted(item)
  if item.wanted_priority then
    if item.wanted_priority < item.priority then
      item.priority, item.score = item.wanted_priority, item.wanted_score
    end
    item.wanted_priority, item.wanted_score = nil, nil
  end
end

-- The text of an item that leaves the queue for a lease: what was kept, its score and the lease.
local function with_lease(head, token, size)
  local item, kept = head.item, head.raw
  if item.token or string.sub(kept, -1) ~= '}' then
    item.score, item.token, item.lease_size = head.score, token, size
    return cjson.encode(item)
  end
  local score = item.score and '' or string.format('"score":"%s",', head.score)
  return string.format('%s,%s"token":%s,"lease_size":%d}', string.sub(kept, 1, -2), score, cjson.encode(token), size)
end

local function end_lease(symbol, item)
  redis.call('ZREM', LEASES, symbol)
  item.token, item.lease_size = nil, nil
end

-- Forgets pending symbols altogether. One that is leased is nowhere else.
local function forget(symbols)
  if call_many('ZREM', LEASES, symbols) < #symbols then
    leave_queue(symbols)
    call_many('ZREM', DELAYED, symbols)
  end
  call_many('SREM', PENDING, symbols)
  call_many('HDEL', ITEMS, symbols)
end
