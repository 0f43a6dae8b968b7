-- Oldest first, a bounded number at a time, by the index on started_at.
DELETE FROM data_sources.api_calls
WHERE call_id IN (
    SELECT call_id FROM data_sources.api_calls
    WHERE started_at < now() - make_interval(days => %(keep_days)s)
    ORDER BY started_at
    LIMIT %(limit)s
);
