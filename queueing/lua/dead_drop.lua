-- Removes dead letters.
-- args: symbols.
-- Writes: dead, dead:items.
-- Returns the number that were there.
local before = redis.call('ZCARD', DEAD)
forget_dead(args.symbols)
return before - redis.call('ZCARD', DEAD)
