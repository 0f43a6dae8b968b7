-- When good calls asked for one ticker, oldest first.
SELECT started_at
FROM data_sources.api_calls
WHERE started_at BETWEEN %(since)s AND clock_timestamp() + interval '1 day'
  AND outcome = 'ok' AND %(ticker)s = ANY(tickers)
ORDER BY started_at;
