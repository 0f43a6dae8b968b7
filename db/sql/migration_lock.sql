-- The number is "assetq" in ASCII, so that it can be told from other programs' locks.
SELECT pg_advisory_lock(107148485162097);
