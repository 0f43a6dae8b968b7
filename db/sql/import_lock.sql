-- One import at a time, to the end of the transaction. The number is "symbols" in ASCII.
SELECT pg_advisory_xact_lock(32503133031591027);
