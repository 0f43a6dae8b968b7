-- include: quota items ending
-- Writes what became of items into the record of their batch, where another script buried them.
-- args: policy, slot, failed = [[symbol, error]]. Returns 1.
for _, row in ipairs(args.failed) do
  batch_outcome({ batch = args.slot }, row[1], { status = 'failed', error = row[2] })
end
return 1
