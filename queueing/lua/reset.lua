-- include: quota
-- Forgets every call, block, hold and failure, as if nobody had called. Only for who knows that this is so.
-- Returns the number of places that were taken.
local taken = #(places())
redis.call('DEL', WINDOW)
redis.call('HDEL', QUOTA, 'blocked_until', 'blocked_ms', 'blocked_reason', 'hold_until', 'last_grant_at',
  'failures', 'open_until', 'open_ms', 'open_since', 'open_reason', 'probe', 'probe_until')
redis.call('HSET', QUOTA, 'epoch', server_epoch())
return taken
