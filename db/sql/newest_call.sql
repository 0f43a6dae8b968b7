-- The newest audited call, if the server's clock says that it was made within the last seconds.
SELECT call_id, started_at
FROM data_sources.api_calls
WHERE provider = %(provider)s
  AND started_at BETWEEN clock_timestamp() - make_interval(secs => %(within_s)s) AND clock_timestamp()
ORDER BY started_at DESC
LIMIT 1;
