-- Counts calls that were made elsewhere just now, whether or not they were allowed.
-- args: call_ids.
-- Reads and writes: quota, window, counters.
-- Returns the number of permits in use now; -1, and nothing done, if the quota is kept by other rules.
local q = quota_state()
check_policy(q)
if q.policy_until > now then return -1 end
check_epoch(q) -- before a window that was lost seems to be there again
if policy.limit > 0 then
  for _, id in ipairs(args.call_ids) do
    redis.call('ZADD', WINDOW, now + policy.window_ms + policy.guard_ms, id)
  end
end
redis.call('HSET', QUOTA, 'last_call_at', now)
count('consumed', #args.call_ids)
return permits_in_use()
