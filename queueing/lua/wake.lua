-- Makes the waiting drain look up, whatever it waits for.
-- args: always (also if none is known to wait: its key may have been lost under it).
-- Reads: waiter. Writes: wake.
-- Returns 1 if a token was left, else 0.
if not args.always and not a_drain_waits() then return 0 end
push_token()
return 1
