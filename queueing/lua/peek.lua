-- include: quota items order
-- Read only: the next n items in the order in which calls would take them.
-- args: policy, n. Returns JSON: items, now_ms.
local items = {}
for _, head in ipairs(in_order(args.n)) do
  head.item.symbol = head.symbol
  if not head.item.broken then items[#items + 1] = head.item end
end
return cjson.encode({ items = items, now_ms = now })
