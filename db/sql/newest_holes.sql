-- Days of series that are to be asked for: those that no answer speaks for as a whole come first,
-- then those to be looked at again. Series by series, so that the work grows with their number. A
-- series of a paused asset lacks nothing.
SELECT s.symbol::text AS symbol, h.newest, h.again, h.asked_at, h.oldest, h.days
FROM trading.symbols AS s
CROSS JOIN LATERAL (
    SELECT newest, bool_and(again) AS again,
           max(asked_at) FILTER (WHERE day = newest) AS asked_at,
           min(day) FILTER (WHERE day > newest - %(span_days)s::integer
                              AND day <= newest) AS oldest,
           count(*)::integer AS days
    FROM (
        SELECT d.day::date AS day, c.whole IS TRUE AS again, c.asked_at,
               coalesce(max(d.day::date) FILTER (WHERE c.whole IS NOT TRUE) OVER (),
                        max(d.day::date) OVER ()) AS newest
        FROM generate_series(
            %(first)s::date::timestamp, %(last)s::date::timestamp, interval '1 day') AS d (day)
        LEFT JOIN market_data.coverage_days AS c
            ON c.symbol_id = s.id AND c.timeframe = %(timeframe)s AND c.day = d.day::date
        WHERE c.day IS NULL OR c.look_again_at <= %(now)s
           OR (c.look_again_at IS NULL AND NOT c.whole)
    ) AS holes
    GROUP BY newest
) AS h
WHERE s.symbol = ANY(%(symbols)s::text[]) AND s.is_active IS NOT FALSE;
