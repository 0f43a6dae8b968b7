-- include: quota
-- An HTTP response to this call came: from now it counts for one window only.
-- args: policy, call_id. Returns 1 if its place was shortened, else 0.
return settle(args.call_id, true)
