SELECT call_id, provider, endpoint, feed, tickers, status, outcome, started_at, latency_ms, error
FROM data_sources.api_calls
ORDER BY started_at DESC
LIMIT %(limit)s;
