-- Prolongs the leases of one token.
-- args: token, symbols, lease_ms.
-- Reads: items. Writes: leases.
-- Returns JSON: lost (no longer leased to this token), lease_until_ms, now_ms.
local lost, until_ms = {}, now + args.lease_ms
for _, symbol in ipairs(args.symbols) do
  local item = load_item(symbol)
  if item and item.token == args.token then
    redis.call('ZADD', LEASES, 'XX', until_ms, symbol)
  else
    lost[#lost + 1] = symbol
  end
end
return answer({ lost = lost, lease_until_ms = told(until_ms) })
