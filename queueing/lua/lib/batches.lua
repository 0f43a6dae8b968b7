-- The records of batches. BATCHES lists the slots by planned time; the fields of one slot in BATCH_RECORDS:
--   <slot>                    JSON: planned_at_ms, started_at_ms, assets
--   <slot>:enqueued_at_ms     all its assets were asked for
--   <slot>:open               assets without a final outcome
--   <slot>:outcome:<SYMBOL>   JSON: status, error?, at_ms
--   <slot>:calls, <slot>:first_call_at_ms, <slot>:finished_at_ms
local KEPT_RECORDS = 300
local PER_CALL = 1000 -- arguments of one command; Lua passes some thousand at most

local function drop_record(slot)
  local assets = decoded(redis.call('HGET', BATCH_RECORDS, slot)).assets
  if type(assets) ~= 'table' then assets = {} end
  for from = 1, #assets, PER_CALL do
    local fields = {}
    for i = from, math.min(from + PER_CALL - 1, #assets) do
      fields[#fields + 1] = slot .. ':outcome:' .. tostring(assets[i])
    end
    redis.call('HDEL', BATCH_RECORDS, unpack(fields))
  end
  redis.call('HDEL', BATCH_RECORDS, slot, slot .. ':enqueued_at_ms', slot .. ':open', slot .. ':calls',
    slot .. ':first_call_at_ms', slot .. ':finished_at_ms')
  redis.call('ZREM', BATCHES, slot)
end

-- Drops what is older than `ttl_ms` or beyond KEPT_RECORDS: up to two, as each batch adds one.
local function drop_old_records(ttl_ms)
  local spare = redis.call('ZCARD', BATCHES) - KEPT_RECORDS
  local old = redis.call('ZRANGEBYSCORE', BATCHES, '-inf', wall - ttl_ms, 'LIMIT', 0, 2)
  if #old == 0 and spare > 0 then old = redis.call('ZRANGE', BATCHES, 0, math.min(spare, 2) - 1) end
  for _, slot in ipairs(old) do drop_record(slot) end
end

local finished = {} -- slots of batches that end in this step
local function end_record_if_done(slot, open)
  if open <= 0 and redis.call('HSETNX', BATCH_RECORDS, slot .. ':finished_at_ms', wall) == 1 then
    finished[#finished + 1] = slot
  end
end

-- A record that is gone is not begun again. An asset that is retried is open until it is refreshed or given up.
local function record_outcome(slot, symbol, status, error)
  if not slot or redis.call('HEXISTS', BATCH_RECORDS, slot) == 0 then return end
  local field, retrying = slot .. ':outcome:' .. symbol, status == 'retrying'
  local before = redis.call('HGET', BATCH_RECORDS, field)
  redis.call('HSET', BATCH_RECORDS, field, cjson.encode({ status = status, error = error, at_ms = wall }))
  local was_open = not before or decoded(before).status == 'retrying'
  if was_open and not retrying then
    end_record_if_done(slot, add(BATCH_RECORDS, slot .. ':open', -1))
  end
end

local function record_call(slot, granted_at_ms)
  if redis.call('HEXISTS', BATCH_RECORDS, slot) == 0 then return end
  add(BATCH_RECORDS, slot .. ':calls', 1)
  redis.call('HSETNX', BATCH_RECORDS, slot .. ':first_call_at_ms', granted_at_ms)
end

local function batch_is_enqueued(slot) return redis.call('HEXISTS', BATCH_RECORDS, slot .. ':enqueued_at_ms') == 1 end

local function begin_record(batch)
  if redis.call('HSETNX', BATCH_RECORDS, batch.slot, cjson.encode({
    planned_at_ms = batch.planned_at_ms, started_at_ms = wall, assets = batch.assets })) == 0 then return end
  local known, outcomes = 0, {}
  for symbol, outcome in pairs(batch.outcomes) do
    known = known + 1
    outcome.at_ms = wall
    outcomes[2 * known - 1], outcomes[2 * known] = batch.slot .. ':outcome:' .. symbol, cjson.encode(outcome)
  end
  call_many('HSET', BATCH_RECORDS, outcomes)
  redis.call('HSET', BATCH_RECORDS, batch.slot .. ':open', #batch.assets - known)
  drop_old_records(batch.ttl_ms)
  redis.call('ZADD', BATCHES, batch.planned_at_ms, batch.slot)
  for _, key in ipairs({ BATCH_RECORDS, BATCHES }) do redis.call('PEXPIRE', key, batch.ttl_ms) end
  end_record_if_done(batch.slot, #batch.assets - known)
end
