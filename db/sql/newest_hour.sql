SELECT hour, noted_at, prices, bars, history, probes, refused, idle_ms, waits, assets, stale,
       lacking, causes, seen
FROM assetq.hours
WHERE provider = %(provider)s
ORDER BY hour DESC
LIMIT 1;
