-- The figures of each UTC day since then, in order.
SELECT date_trunc('day', hour AT TIME ZONE 'UTC') AT TIME ZONE 'UTC' AS hour,
       max(noted_at) AS noted_at,
       sum(prices)::bigint AS prices, sum(bars)::bigint AS bars, sum(history)::bigint AS history,
       sum(probes)::bigint AS probes, sum(refused)::bigint AS refused,
       sum(idle_ms)::bigint AS idle_ms
FROM assetq.hours
WHERE provider = %(provider)s AND hour >= %(since)s
GROUP BY 1
ORDER BY 1;
