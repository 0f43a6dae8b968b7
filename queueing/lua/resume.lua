-- include: quota
-- A server that ended in order and runs again on the same data knows of all calls, so no window need pass.
-- args: policy, epoch (run_id of the server that ended). Returns 1; 0 if these books are not that server's.
if redis.call('HGET', QUOTA, 'epoch') ~= args.epoch then return 0 end
redis.call('HSET', QUOTA, 'epoch', server_epoch())
return 1
