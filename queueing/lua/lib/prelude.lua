-- Stands before every script: the keys, the named arguments and the one reading of the clock.
-- KEYS     the keys of one provider, in the order of keys.py
-- ARGV[1]  JSON object of named arguments, which each script lists; always among them:
--   policy  limit (0: none), window_ms, send_ms, guard_ms, spacing_ms, tolerance_ms, grace_ms, aging_ms, breaker_*
--   bands   the most and the least urgent priority
--   machine?, up_ms: the caller's machine, and how long it runs
--   now_ms? replaces the clock (tests, simulation)
local QUEUE, PENDING, ITEMS, DELAYED, LEASES = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local DEAD, DEAD_ITEMS, WINDOW, QUOTA, COUNTERS = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local WAITS, WAKE, WAITER, UPDATES = KEYS[11], KEYS[12], KEYS[13], KEYS[14]
local BATCHES, RECORDS, MARKS, OVERTAKEN, TIMINGS = KEYS[15], KEYS[16], KEYS[17], KEYS[18], KEYS[19]
local args = cjson.decode(ARGV[1])
local policy = args.policy
local CRITICAL, LOWEST = args.bands[1], args.bands[2]

local function read_clock()
  if args.now_ms then return args.now_ms end
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Redis' clock may step, back or forward. `now` goes on as if it had not: everything that waits keeps its length, and no
-- rule ever sees a time fall or leap. `ahead` is by how much `now` is ahead of Redis' clock since (behind: negative); all
-- scores and fields of quota are in the time of `now`, all that is told to people or other programs is in Redis' own
-- (`wall`). A step forward is what passed on Redis' clock since the last script, and not on the caller's machine; a
-- request may take STEP_MS, which counts as no step.
local STEP_MS = 2000
local wall, ahead = read_clock(), 0
local machine = args.machine and 'clock_machine:' .. args.machine -- kept: when it started, in the time of `now`
do
  local kept = redis.call('HMGET', QUOTA, 'clock_seen', 'clock_ahead', machine or 'clock_machine')
  local seen, started = tonumber(kept[1] or wall), tonumber(kept[3] or nil)
  ahead = tonumber(kept[2] or 0) + math.max(0, seen - wall)
  local step = started and math.min(wall - seen, wall + ahead - started - args.up_ms) or 0
  if step > STEP_MS then ahead = ahead - step end
end
local now = wall + ahead
local function told(time) return time and time > 0 and time - ahead or time end

-- Numbers leave Lua as strings: tostring and .. keep 14 digits only.
local function ms(number) return string.format('%.0f', number) end
local function exact(number) return string.format('%.17g', number) end
-- One command with many arguments, in parts: Lua passes some thousand at most.
local function call_many(command, key, arguments)
  for from = 1, #arguments, 1000 do
    redis.call(command, key, unpack(arguments, from, math.min(from + 999, #arguments)))
  end
end
local function count(name, by) redis.call('HINCRBY', COUNTERS, name, by or 1) end
local function answer(fields)
  fields.now_ms = wall
  return cjson.encode(fields)
end
