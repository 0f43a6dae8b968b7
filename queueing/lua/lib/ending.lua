-- How a call ends: whose items are still its own, and what the record of a batch is told. Needs lib/items.lua.
-- KEYS[17] belongs to the slot args.slot. A record that is gone is not begun again.
local function in_batch(item)
  return item.batch and item.batch == args.slot and redis.call('EXISTS', BATCH) == 1
end

-- Outcomes in the record of a batch.
local function batch_outcome(item, symbol, outcome)
  if not in_batch(item) then return end
  outcome.at_ms = now
  redis.call('HSET', BATCH, 'outcome:' .. symbol, cjson.encode(outcome))
  local left = 0
  for _, name in ipairs(cjson.decode(redis.call('HGET', BATCH, 'assets') or '[]')) do
    if redis.call('HEXISTS', BATCH, 'outcome:' .. name) == 0 then left = left + 1 end
  end
  if left == 0 then redis.call('HSETNX', BATCH, 'finished_at_ms', ms(now)) end
end

-- A call that ended was one of the batch's if any of its items is (rows = [{item}]).
local function batch_call(rows)
  for _, row in ipairs(rows) do
    if in_batch(row.item) then
      redis.call('HINCRBY', BATCH, 'calls', 1)
      redis.call('HSETNX', BATCH, 'first_call_at_ms', ms(args.granted_at_ms))
      return
    end
  end
end

-- Those of a call's rows whose lease is still its own, as {row, item}, and the symbols of the others. A leased item
-- that has meanwhile joined another batch makes the third value the whole reply: call again with that record.
local function own_rows(rows)
  local mine, lost = {}, {}
  for _, row in ipairs(rows) do
    local item = load_item(row.symbol)
    if not item or item.token ~= args.token then
      lost[#lost + 1] = row.symbol
    elseif item.batch and item.batch ~= args.slot then
      return nil, nil, cjson.encode({ slot = item.batch, symbol = row.symbol })
    else
      mine[#mine + 1] = { row = row, item = item }
    end
  end
  return mine, lost
end
