-- Leaves a mark that a flush, a restart or a failover wipes out. A process that leaves it, and then learns elsewhere
-- that no call was made for longer than a horizon, holds a proof as long as the mark stands.
-- args: mark.
-- Writes: marks.
-- Returns 1.
redis.call('ZADD', MARKS, now, known_epoch(quota_state()) .. ':' .. args.mark)
redis.call('ZREMRANGEBYRANK', MARKS, 0, -33)
redis.call('PEXPIRE', MARKS, 60000)
return 1
