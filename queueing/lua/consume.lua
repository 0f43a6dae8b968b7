-- needs: window
-- Counts calls that were made elsewhere just now, whether or not they were allowed.
-- args: call_ids.
-- Reads and writes: quota, window, counters.
-- Returns the number of permits in use now.
heal_clock(quota_state())
if policy.limit > 0 then
  for _, id in ipairs(args.call_ids) do
    redis.call('ZADD', WINDOW, ms(now + policy.window_ms + policy.guard_ms), id)
  end
end
count('consumed', #args.call_ids)
return permits_in_use()
