-- The time since last_active_at, with the row locked.
SELECT CASE WHEN isfinite(last_active_at) THEN clock_timestamp() - last_active_at END
FROM data_sources.api_providers
WHERE code = %(code)s
FOR NO KEY UPDATE;
