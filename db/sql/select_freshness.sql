-- What is known of the latest price of each asset (those with a polygon_ticker), or of the symbols
-- named, and of its newest refresh. The table is the user's: as in select_symbols.sql a value that
-- is out of range counts as absent.
SELECT s.symbol::text AS symbol,
       s.polygon_ticker::text AS ticker,
       s.name::text AS name,
       CASE WHEN s.priority < 1 THEN 1
            WHEN s.priority <= 4 THEN s.priority::integer
            WHEN s.priority <> 'NaN'::numeric THEN 4
            ELSE 3 END AS band,
       CASE WHEN s.update_frequency_seconds BETWEEN 1 AND 2147483647
            THEN s.update_frequency_seconds::integer END AS every_s,
       s.is_active IS NOT FALSE AS active,
       CASE WHEN jsonb_typeof(u -> 'last_price') = 'number'
            THEN (u ->> 'last_price')::numeric END AS price,
       CASE WHEN jsonb_typeof(u -> 'daily_open') = 'number'
            THEN (u ->> 'daily_open')::numeric END AS day_open,
       CASE WHEN u ->> 'as_of' ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00$'
            THEN u ->> 'as_of' END AS as_of,
       CASE WHEN jsonb_typeof(u -> 'observed_at_ms') = 'number'
                 AND u -> 'observed_at_ms' BETWEEN '0' AND '4102444800000'
            THEN (u ->> 'observed_at_ms')::bigint END AS fetched_at_ms,
       u ->> 'source' AS source,
       u ->> 'delay' AS delay
FROM trading.symbols AS s
CROSS JOIN LATERAL (SELECT s.metadata -> 'last_update') AS latest (u)
WHERE s.polygon_ticker IS NOT NULL AND s.polygon_ticker <> ''
  AND (%(symbols)s::text[] IS NULL OR s.symbol = ANY(%(symbols)s::text[]));
