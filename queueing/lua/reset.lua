-- Forgets every call, block, hold and failure, as if no call had been made. Only right if that is so.
-- The quota is then kept by the rules of the caller.
-- Reads and writes: quota, window.
-- Returns the number of permits that were in use.
local q = quota_state()
local in_use = permits_in_use()
redis.call('UNLINK', WINDOW)
redis.call('HDEL', QUOTA, 'blocked_until', 'blocked_ms', 'blocked_reason', 'hold_until', 'last_grant_at',
  'failed', 'probed', 'open_until', 'open_ms', 'open_since', 'open_reason', 'probe', 'probe_until')
redis.call('HSET', QUOTA, 'epoch', known_epoch(q), 'policy', policy.kept, 'policy_horizon', horizon_ms,
  'reset_at', ms(now))
return in_use
