-- To the end of the transaction. The number is "assetq" in ASCII, to tell it from other programs'.
SELECT pg_advisory_xact_lock(107148485162097);
