-- The places in the queue: how an item gets one, and how the bands lie.
local BAND = 1e13 -- score = priority * BAND + ms

-- A score of its own: strictly rising by 1/128 ms, so that order of arrival holds within one millisecond.
-- It may run ahead of the clock; ages come from enqueued_at_ms. A script that gives scores remembers the last one.
local last_score
local function next_score(priority)
  local last = last_score or number_of(redis.call('HGET', QUOTA, 'last_score_ms')) or 0
  last_score = math.max(now, last + 1 / 128)
  return priority * BAND + last_score
end

local function remember_score()
  if last_score then redis.call('HSET', QUOTA, 'last_score_ms', last_score) end
end

local function note_ready(ready_at) redis.call('HSETNX', QUOTA, 'ready_since', ready_at) end
local function work_ready_since() return number_of(redis.call('HGET', QUOTA, 'ready_since')) or 0 end

-- An item that was raised or retried stands behind younger requests: OVERTAKEN remembers its age.
local YOUNGER_MS = 1000
local function is_overtaken(score, item) return score - item.priority * BAND > item.enqueued_at_ms + YOUNGER_MS end

local function put_in_queue(symbol, item, ready_at)
  local score = item.score or item.priority * BAND + item.enqueued_at_ms -- QUEUE was lost, and its scores
  redis.call('ZADD', QUEUE, score, symbol)
  if is_overtaken(score, item) then
    redis.call('ZADD', OVERTAKEN, item.enqueued_at_ms, symbol)
  end
  note_ready(ready_at)
end

local function leave_queue(symbols)
  call_many('ZREM', QUEUE, symbols)
  call_many('ZREM', OVERTAKEN, symbols)
end

-- The scores of the bands from `first` to `last`: each ends long before the next one begins.
local function band_scores(first, last) return first * BAND, (last + 1) * BAND - 1 end

local function queued_in(first, last) return redis.call('ZCOUNT', QUEUE, band_scores(first, last)) end

-- Idle time is counted from when work was there: with an empty queue there is none.
local function note_empty_queue()
  if queued_in(CRITICAL, LOWEST) == 0 then redis.call('HDEL', QUOTA, 'ready_since') end
end
