-- Read only: the next items in the order in which calls would take them.
-- args: n, skip = how many of each band, the first one first, were read before.
-- Reads: queue, items.
-- Returns JSON: items, skip (to go on), now_ms.
local items = {}
for _, head in ipairs(in_order(bands_behind(args.skip, args.n), args.n)) do
  local item = head.item
  item.symbol, item.score, item.enqueued_at_ms = head.symbol, head.score, told(item.enqueued_at_ms)
  args.skip[head.priority] = args.skip[head.priority] + 1
  if not item.broken then items[#items + 1] = item end
end
return answer({ items = items, skip = args.skip })
