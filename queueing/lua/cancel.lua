-- include: quota items waiting
-- Takes requests back: queued and delayed items are forgotten, leased ones are left to end.
-- args: policy, symbols. Returns the number that were taken back.
local cancelled = 0
for _, symbol in ipairs(args.symbols) do
  if redis.call('SISMEMBER', PENDING, symbol) == 1 and not redis.call('ZSCORE', LEASES, symbol) then
    forget(symbol)
    cancelled = cancelled + 1
  end
end
if queued_in(CRITICAL, LOWEST) == 0 then redis.call('HDEL', QUOTA, 'ready_since') end
count('cancelled', cancelled)
return cancelled
