-- One row per API call; the same call written again (a refresh repeated after a crash) is one row.
INSERT INTO data_sources.api_calls
    (call_id, provider, endpoint, feed, tickers, status, outcome, started_at, latency_ms, error)
VALUES (%(call_id)s, %(provider)s, %(endpoint)s, %(feed)s, %(tickers)s::text[], %(status)s,
        %(outcome)s, %(started_at)s, %(latency_ms)s, %(error)s)
ON CONFLICT (call_id) DO NOTHING;
