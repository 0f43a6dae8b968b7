-- For how many seconds each cause stood since then.
SELECT cause.key, sum(cause.value::double precision)
FROM assetq.hours CROSS JOIN LATERAL jsonb_each_text(causes) AS cause
WHERE provider = %(provider)s AND hour >= %(since)s
GROUP BY 1
ORDER BY 1;
