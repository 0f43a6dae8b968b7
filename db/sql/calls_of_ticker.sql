-- The newest calls that asked for one ticker.
SELECT call_id, feed, tickers[1:5] AS tickers, cardinality(tickers) AS count, status, outcome,
       started_at, latency_ms, error
FROM data_sources.api_calls
WHERE started_at BETWEEN %(since)s AND clock_timestamp() + interval '1 day'
  AND %(ticker)s = ANY(tickers)
ORDER BY started_at DESC
LIMIT %(limit)s;
