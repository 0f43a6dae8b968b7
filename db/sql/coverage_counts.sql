-- For each series how many days of a range have which status, and the first day that the view
-- tells of; days before it were never asked for. The newest days come one by one, oldest first.
SELECT symbol,
       min(day) AS first,
       count(*) FILTER (WHERE status = 'complete')::integer AS complete,
       count(*) FILTER (WHERE status = 'sparse')::integer AS sparse,
       count(*) FILTER (WHERE status = 'pending')::integer AS pending,
       count(*) FILTER (WHERE status = 'missing')::integer AS missing,
       count(*) FILTER (WHERE status = 'closed')::integer AS closed,
       coalesce(array_agg(status ORDER BY day) FILTER (WHERE day >= %(newest)s), '{}') AS newest
FROM market_data.coverage
WHERE timeframe = %(timeframe)s AND day BETWEEN %(first)s AND %(last)s
GROUP BY symbol;
