-- The calls since then that brought no good answer, by how they failed.
SELECT outcome, count(*)::integer AS calls, max(started_at) AS newest_at,
       (array_agg(error ORDER BY started_at DESC))[1] AS error
FROM data_sources.api_calls
WHERE started_at >= %(since)s AND outcome <> 'ok'
GROUP BY outcome
ORDER BY count(*) DESC, outcome;
