-- Days of series that are to be asked for: those that no answer speaks for as a whole come first,
-- then those to be looked at again.
WITH holes AS (
    SELECT s.symbol::text AS symbol, d.day::date AS day, c.whole IS TRUE AS again,
           c.asked_at
    FROM trading.symbols AS s
    CROSS JOIN generate_series(
        %(first)s::date::timestamp, %(last)s::date::timestamp, interval '1 day') AS d (day)
    LEFT JOIN market_data.coverage_days AS c
        ON c.symbol_id = s.id AND c.timeframe = %(timeframe)s AND c.day = d.day::date
    WHERE s.symbol = ANY(%(symbols)s::text[])
      AND (c.day IS NULL OR c.look_again_at <= %(now)s
           OR (c.look_again_at IS NULL AND NOT c.whole))
), newest AS (
    SELECT DISTINCT ON (symbol) symbol, day AS newest, again, asked_at
    FROM holes
    ORDER BY symbol, again, day DESC
)
SELECT newest.symbol, newest.newest, newest.again, newest.asked_at,
       min(holes.day) FILTER (WHERE holes.day > newest.newest - %(span_days)s::integer
                                AND holes.day <= newest.newest) AS oldest,
       count(*)::integer AS days
FROM newest
JOIN holes ON holes.symbol = newest.symbol
GROUP BY newest.symbol, newest.newest, newest.again, newest.asked_at;
