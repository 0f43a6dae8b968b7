-- The figures of each hour since then, in order.
SELECT hour, noted_at, prices, bars, history, probes, refused, idle_ms, waits, assets, stale,
       lacking, causes
FROM assetq.hours
WHERE provider = %(provider)s AND hour >= %(since)s
ORDER BY hour;
