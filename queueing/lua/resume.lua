-- Spares the hold after a restart in order: a server that runs again on the same data knows of all calls.
-- args: epoch (run_id of the server that ended).
-- Reads and writes: quota.
-- Returns 1; 0 if the calls that are known are not that server's.
local q = quota_state()
if q.epoch ~= args.epoch then return 0 end
redis.call('HSET', QUOTA, 'epoch', known_epoch(q))
return 1
