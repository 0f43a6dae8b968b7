-- Stands before every script that is not "Read only": the next one sees if the clock steps.
local MOST_FIELDS = 128
redis.call('HSET', QUOTA, 'clock_seen', ms(wall), 'clock_ahead', ms(ahead))
if machine and redis.call('HSET', QUOTA, machine, ms(now - args.up_ms)) == 1 and redis.call('HLEN', QUOTA) > MOST_FIELDS then
  for _, name in ipairs(redis.call('HGETALL', QUOTA)) do -- machines that are gone; no value reads like one
    if name ~= machine and string.sub(name, 1, 14) == 'clock_machine:' then redis.call('HDEL', QUOTA, name) end
  end
end
