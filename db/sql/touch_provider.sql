-- clock_timestamp(), not now(): the lock may have been waited for since the transaction began.
UPDATE data_sources.api_providers SET last_active_at = clock_timestamp() WHERE code = %(code)s;
