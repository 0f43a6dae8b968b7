-- include: quota
-- Counts calls that were made elsewhere just now, whether or not they were allowed.
-- args: policy, call_ids. Returns the number of places that are taken now.
heal_clock(quota_state())
if policy.limit > 0 then
  for _, id in ipairs(args.call_ids) do
    redis.call('ZADD', WINDOW, ms(now + policy.window_ms + policy.guard_ms), id)
  end
end
count('consumed', #args.call_ids)
return #(places())
