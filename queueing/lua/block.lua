-- Lets no call go before a given time (a 429, or by hand); a longer block is never shortened unless args.force.
-- args: block_ms, reason, force.
-- Reads and writes: quota, counters.
-- Returns the ms until which calls are blocked (0: not at all).
local until_ms = args.block_ms > 0 and now + args.block_ms or 0
local standing = quota_state().blocked_until
if not args.force and standing >= until_ms then return ms(told(standing)) end
redis.call('HSET', QUOTA, 'blocked_until', until_ms, 'blocked_ms', args.block_ms, 'blocked_reason', args.reason)
count('blocks')
return ms(told(until_ms))
