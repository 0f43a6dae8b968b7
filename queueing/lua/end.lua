-- Ends a call: each leased item gets a verdict, events are published, and the reply says when to claim again.
-- args: token, granted_at_ms, sent, answered, failed?, took_ms?, stream_max, drain?, max_wait_ms?,
--   verdicts = [{symbol, verb, ...}] with
--   verb done:      channel?, event?            (out of queue and dead letters; the event is published)
--   verb again:     priority, channel?, event?  (a part is done: behind all of that band, a fresh item)
--   verb retry:     delay_ms, priority, error   (counts an attempt; runs again later, with a new score)
--   verb give_back: delay_ms?, error?, solo?, group?  (no attempt counted; the original score)
--   verb bury:      kind, error                 (into the dead letters, out of the dedup)
--   leading: the most urgent item of the claim, by which the circuit breaker knows the call;
--   failed: the call failed for reasons that are not its items' (true), or showed that calls work (false); feeds the
--   circuit breaker.
-- Reads and writes: all keys but marks, waits.
-- Returns JSON: lost (symbols whose lease is not this token's: nothing was done for them), and the hint of claim.
local q = quota_state()
local lost = end_call(args, q)
return reply_to_drain({ lost = lost }, q, args.drain, args.max_wait_ms)
