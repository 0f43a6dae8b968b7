-- needs: dead
-- Removes dead letters.
-- args: symbols.
-- Writes: dead, dead:items.
-- Returns the number that were there.
local dropped = 0
for _, symbol in ipairs(args.symbols) do dropped = dropped + forget_dead(symbol) end
return dropped
