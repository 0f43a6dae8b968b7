-- The time since the provider was last called, by its row or by the audit (a worker that could not
-- write the row leaves audit rows all the same).
SELECT clock_timestamp() - greatest(
           CASE WHEN isfinite(p.last_active_at) THEN p.last_active_at END,
           (SELECT max(c.started_at) FROM data_sources.api_calls AS c
            WHERE c.provider = p.code AND isfinite(c.started_at)))
FROM data_sources.api_providers AS p
WHERE p.code = %(code)s;
