-- Notes that an HTTP response to this call came: from now it counts for one window only.
-- args: call_id.
-- Writes: window.
-- Returns 1 if its permit was shortened, else 0.
return settle(args.call_id, true)
