-- Tracked symbols (with a polygon_ticker, active) and how old their price is. as_of counts in the
-- one form that assetq writes (see update_prices.sql); a band beyond 1..4 is the nearest one, and
-- none is MEDIUM. By band and symbol, or with `stalest` by the age of the price, never refreshed
-- first.
WITH tracked AS (
    SELECT s.symbol::text AS symbol,
           s.polygon_ticker::text AS polygon_ticker,
           coalesce(s.asset_type::text, '') AS asset_type,
           s.name::text AS name,
           least(greatest(coalesce(s.priority, 3), 1), 4)::integer AS priority,
           s.update_frequency_seconds::integer AS update_frequency_seconds,
           CASE WHEN jsonb_typeof(s.metadata #> '{last_update,last_price}') = 'number'
                THEN (s.metadata #>> '{last_update,last_price}')::numeric END AS last_price,
           CASE WHEN s.metadata #>> '{last_update,as_of}'
                         ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00$'
                THEN s.metadata #>> '{last_update,as_of}' END COLLATE "C" AS as_of,
           s.metadata #>> '{last_update,source}' AS source,
           s.metadata #>> '{last_update,delay}' AS delay,
           CASE WHEN jsonb_typeof(s.metadata #> '{last_update,observed_at_ms}') = 'number'
                THEN (s.metadata #>> '{last_update,observed_at_ms}')::numeric
           END AS observed_at_ms,
           s.updated_at::timestamptz AS updated_at
    FROM trading.symbols AS s
    WHERE s.polygon_ticker IS NOT NULL AND s.polygon_ticker <> ''
      AND s.is_active IS NOT FALSE
      AND (%(symbols)s::text[] IS NULL OR s.symbol = ANY(%(symbols)s::text[]))
      AND s.symbol <> ALL(%(exclude)s::text[])
)
SELECT symbol, polygon_ticker, asset_type, name, priority, update_frequency_seconds,
       last_price, as_of, source, delay, observed_at_ms, updated_at
FROM tracked
WHERE %(band)s::integer IS NULL OR priority = %(band)s::integer
ORDER BY CASE WHEN %(stalest)s::boolean THEN as_of END NULLS FIRST,
         CASE WHEN %(stalest)s::boolean THEN observed_at_ms END NULLS FIRST,
         priority,
         symbol
LIMIT %(limit)s;
