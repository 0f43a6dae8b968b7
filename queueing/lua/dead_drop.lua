-- Removes dead letters. args: symbols. Returns the number that were there.
local dropped = 0
for _, symbol in ipairs(args.symbols) do
  redis.call('HDEL', DEAD_ITEMS, symbol)
  dropped = dropped + redis.call('ZREM', DEAD, symbol)
end
return dropped
