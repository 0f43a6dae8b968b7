-- Takes the call that is free now and leases the most urgent item(s) to it, in one step.
-- args: token (also the call id), lease_ms, max_items, poison_after, version (the newest that this worker knows),
--   drain?, max_wait_ms?, idle_mark?, newest_call? = {token, at_ms} (a call that is known elsewhere)
-- Reads and writes: all keys but updates.
-- Returns granted: [now_ms, send_by_ms (grant + send budget), lease_until_ms, ahead (by how much the times in items are
--   ahead of Redis' clock), next_at_ms, next_reason (null: no other work), waiting (1: another drain waits), symbol,
--   item, symbol, item, ...], most urgent first, as they are kept;
-- else JSON: status wait | empty, now_ms, and where work exists next_at_ms, next_reason, waiter (this drain waits now),
--   waiting (another one does), held_by? (why the most urgent item got no call).
return claim_call(args)
