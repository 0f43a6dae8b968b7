-- The audit rows of these calls, with the first few tickers of each.
SELECT call_id, feed, tickers[1:5] AS tickers, cardinality(tickers) AS count, status, outcome,
       started_at, latency_ms, error
FROM data_sources.api_calls
WHERE call_id = ANY(%(call_ids)s::text[]);
