-- The newest observation tells how a symbol stands; last_sync_timestamp is its last success.
INSERT INTO data_sources.data_sync_status AS status
    (ticker_id, provider_id, last_sync_timestamp, sync_status, error, observed_at_ms, updated_at)
SELECT s.id, p.id,
       CASE WHEN n.error IS NULL THEN now() END,
       CASE WHEN n.error IS NULL THEN 'success' ELSE 'error' END,
       n.error, %(observed_at_ms)s::bigint, now()
FROM unnest(%(symbol)s::text[], %(error)s::text[]) AS n (symbol, error)
JOIN trading.symbols AS s ON s.symbol = n.symbol
JOIN data_sources.api_providers AS p ON p.code = %(provider)s
ON CONFLICT (ticker_id, provider_id) DO UPDATE
SET last_sync_timestamp = coalesce(excluded.last_sync_timestamp, status.last_sync_timestamp),
    sync_status = excluded.sync_status,
    error = excluded.error,
    observed_at_ms = excluded.observed_at_ms,
    updated_at = excluded.updated_at
WHERE status.observed_at_ms IS NULL OR excluded.observed_at_ms > status.observed_at_ms;
