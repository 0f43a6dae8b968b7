-- One writer at a time, to the end of the transaction; false: another one is at it. The number is
-- "hours" in ASCII.
SELECT pg_try_advisory_xact_lock(448629241459);
