-- needs: epoch
-- Spares the hold after a restart in order: a server that runs again on the same data knows of all calls.
-- args: epoch (run_id of the server that ended).
-- Reads and writes: quota.
-- Returns 1; 0 if the calls that are known are not that server's.
if redis.call('HGET', QUOTA, 'epoch') ~= args.epoch then return 0 end
redis.call('HSET', QUOTA, 'epoch', server_epoch())
return 1
