-- Ends a call as end.lua does and, if there is something to claim now, claims as claim.lua does, in one step.
-- args: those of end.lua, and `claim`: those of claim.lua.
-- Reads and writes: all keys.
-- Returns the reply of claim.lua; that of end.lua where there is nothing to claim, and where items were lost.
local q = quota_state()
local lost = end_call(args, q)
local at = next_event(q)
if #lost > 0 or not at or at > now then return reply_to_drain({ lost = lost }, q, args.drain, args.max_wait_ms) end
return claim_call(args.claim, q)
