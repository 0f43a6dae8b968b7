-- The newest calls that asked for a ticker, within the days that are given.
SELECT call_id, feed, tickers[1:5] AS tickers, cardinality(tickers) AS count, status, outcome,
       started_at, latency_ms, error
FROM data_sources.api_calls
WHERE started_at > now() - make_interval(days => %(days)s) AND %(ticker)s = ANY(tickers)
ORDER BY started_at DESC
LIMIT %(limit)s;
