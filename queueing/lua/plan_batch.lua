-- Says when the next batch will come and how many calls it will make, so that background work keeps them free.
-- args: batch_at_ms, interval_ms (0: no batches), calls.
-- Writes: quota.
-- Returns 1.
redis.call('HSET', QUOTA, 'batch_at', args.batch_at_ms, 'batch_interval', args.interval_ms, 'batch_calls',
  args.calls)
return 1
