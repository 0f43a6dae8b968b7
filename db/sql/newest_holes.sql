-- Days of series that are to be asked for: those that no answer speaks for as a whole come first,
-- then those to be looked at again. A call for them takes along, within its span, the days whose
-- last look is not due but would be the last by now. Series by series, so that the work grows with
-- their number. A series of a paused asset lacks nothing.
SELECT s.symbol::text AS symbol, h.newest, h.again, h.asked_at, h.oldest, h.days
FROM trading.symbols AS s
CROSS JOIN LATERAL (
    SELECT newest, bool_and(again) FILTER (WHERE due) AS again,
           max(asked_at) FILTER (WHERE day = newest) AS asked_at,
           min(day) FILTER (WHERE day > newest - %(span_days)s::integer
                              AND day <= newest) AS oldest,
           (count(*) FILTER (WHERE due))::integer AS days
    FROM (
        SELECT *, coalesce(max(day) FILTER (WHERE due AND NOT again) OVER (),
                           max(day) FILTER (WHERE due) OVER ()) AS newest
        FROM (
            SELECT d.day::date AS day, c.whole IS TRUE AS again, c.asked_at, c.look_again_at,
                   coalesce(c.look_again_at <= %(now)s, c.whole IS NOT TRUE) AS due
            FROM generate_series(
                %(first)s::date::timestamp, %(last)s::date::timestamp, interval '1 day') AS d (day)
            LEFT JOIN market_data.coverage_days AS c
                ON c.symbol_id = s.id AND c.timeframe = %(timeframe)s AND c.day = d.day::date
        ) AS days
        WHERE due OR (look_again_at IS NOT NULL AND day <= %(settled)s::date)
    ) AS holes
    GROUP BY newest
) AS h
WHERE s.symbol = ANY(%(symbols)s::text[]) AND s.is_active IS NOT FALSE
  AND h.newest IS NOT NULL;
