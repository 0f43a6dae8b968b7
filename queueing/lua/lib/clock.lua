-- The one reading of the clock.
local function read_clock()
  if args.now_ms then return args.now_ms end
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Redis' clock may step, back or forward. `now` goes on as if it had not: everything that waits keeps its length, and
-- no rule ever sees a time fall or leap. `ahead` is by how much `now` is ahead of Redis' clock since (behind:
-- negative); all scores and fields of quota are in the time of `now`, all that is told to people or other programs is
-- in Redis' own (`wall`). A step forward is what passed on Redis' clock since the last script, and not on the caller's
-- machine; a request may take STEP_MS, which counts as no step.
local STEP_MS = 2000
local machine = args.machine and 'clock_machine:' .. args.machine -- kept: when it started, in the time of `now`
local wall, ahead = read_clock(), 0
do
  local kept = redis.call('HMGET', QUOTA, 'clock_seen', 'clock_ahead', machine or 'clock_machine')
  local seen, started = number_of(kept[1]) or wall, number_of(kept[3])
  ahead = (number_of(kept[2]) or 0) + math.max(0, seen - wall)
  local step = started and math.min(wall - seen, wall + ahead - started - args.up_ms) or 0
  if step > STEP_MS then ahead = ahead - step end
  ahead = math.floor(ahead) -- as everything that is counted in it, whatever was kept
end
local now = wall + ahead
local function told(time) return time and time > 0 and time - ahead or time end

-- Called first by every script that reads the clock and is not "Read only": the next one sees if the clock steps.
local MOST_FIELDS = 128
local function remember_clock()
  if not machine then return redis.call('HSET', QUOTA, 'clock_seen', wall, 'clock_ahead', ahead) end
  local new = redis.call('HSET', QUOTA, 'clock_seen', wall, 'clock_ahead', ahead, machine, now - args.up_ms)
  if new == 0 or redis.call('HLEN', QUOTA) <= MOST_FIELDS then return end
  for _, name in ipairs(redis.call('HGETALL', QUOTA)) do -- machines that are gone; no value reads like one
    if name ~= machine and string.sub(name, 1, 14) == 'clock_machine:' then redis.call('HDEL', QUOTA, name) end
  end
end
