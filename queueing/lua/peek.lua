-- Read only: the next items in the order in which calls would take them.
-- args: n, skip = how many of each band, the first one first, were read before.
-- Reads: queue, items.
-- Returns JSON: items, skip (to go on), now_ms.
local items = {}
for _, head in ipairs(in_order(bands_behind(args.skip, args.n), args.n)) do
  head.item.symbol, head.item.enqueued_at_ms = head.symbol, told(head.item.enqueued_at_ms)
  args.skip[head.priority] = args.skip[head.priority] + 1
  if not head.item.broken then items[#items + 1] = head.item end
end
return answer({ items = items, skip = args.skip })
