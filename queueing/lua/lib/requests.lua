-- What a request for an item does. `wish` is what all requests of one call share: priority, max_size, version,
-- revive, rest, slot? (of the batch that asks).

-- What one call asks for that is not pending yet; it is queued all at once.
local function nothing_new()
  return { symbols = {}, scores = {}, items = {}, size = redis.call('SCARD', PENDING) }
end

-- Asks for a symbol that is not pending. Returns what becomes of the request, and why not: enqueued | refused | dead.
local function ask(symbol, payload, solo, wish, new)
  local dead = wish.any_dead and read_dead(symbol) or {}
  local why = wish.any_dead and not wish.revive and still_dead(dead, wish.rest)
  if why then return 'dead', why end
  local at = #new.symbols + 1
  if wish.priority ~= CRITICAL and new.size + at > wish.max_size then
    return 'refused', 'the queue is full (' .. ms(wish.max_size) .. ')'
  end
  local score = next_score(wish.priority)
  new.symbols[at] = symbol
  new.scores[2 * at - 1], new.scores[2 * at] = score, symbol
  new.items[2 * at - 1], new.items[2 * at] = symbol, cjson.encode({
    payload = payload, priority = wish.priority, enqueued_at_ms = now, solo = solo or dead.solo,
    attempts = wish.zero, crashes = wish.zero, score = wish.zero and exact(score),
    deaths = not wish.revive and dead.deaths or nil, version = wish.version > 1 and wish.version or nil,
    batch = wish.slot })
  return 'enqueued'
end

local function queue_all(new)
  if #new.symbols == 0 then return end
  call_many('SADD', PENDING, new.symbols)
  call_many('HSET', ITEMS, new.items)
  call_many('ZADD', QUEUE, new.scores)
  note_ready(now)
  count('enqueued', #new.symbols)
end

-- Handles requests = { symbol, payload, solo, symbol, ... }. Returns a letter for each outcome, as enqueue.lua lists
-- them, and the reasons of those that have one.
local LETTERS = { enqueued = 'e', raised = 'r', pending = 'p', refused = 'f', dead = 'd' }
local function ask_all(requests, wish)
  local letters, reasons, seen, new = {}, {}, {}, nothing_new()
  wish.any_dead = redis.call('EXISTS', DEAD, DEAD_ITEMS) > 0
  -- Workers of an older version bury an item that leaves out what is usual.
  if redis.call('EXISTS', OLDER_PROCESSES) == 1 then wish.zero = 0 end
  for i = 1, #requests, 3 do
    local symbol, what, why = requests[i], nil, nil
    if seen[symbol] then -- twice in one call: the first is queued before the second looks
      queue_all(new)
      new = nothing_new()
    end
    seen[symbol] = true
    local pending = redis.call('SISMEMBER', PENDING, symbol) == 1
    local item = pending and load_item(symbol)
    if item then
      what = raise(symbol, item, wish)
    else
      if pending then -- an item that was deleted or damaged must not block its symbol
        forget({ symbol })
        new.size = new.size - 1
      end
      what, why = ask(symbol, requests[i + 1], requests[i + 2], wish, new)
      if what == 'refused' then count('refused') end
      if what == 'dead' then record_outcome(wish.slot, symbol, 'failed', why) end
      reasons[#reasons + 1] = why
    end
    letters[#letters + 1] = LETTERS[what]
  end
  queue_all(new)
  remember_score()
  return table.concat(letters), reasons
end
