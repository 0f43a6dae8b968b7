-- Tracked symbols (active unless `paused`, with a polygon_ticker) and the age of their prices. The table is the
-- user's: a value that is out of range counts as absent, so that no row can fail the statement.
-- as_of counts only in the form that assetq writes (see update_prices.sql). A band beyond 1..4 is
-- the nearest one, and none is MEDIUM. Ordered by band and symbol, or with `stalest` by the age of
-- the price, never refreshed first.
WITH raw AS (
    SELECT s.symbol, s.polygon_ticker, s.asset_type, s.name, s.priority,
           s.update_frequency_seconds, s.updated_at, s.is_active,
           s.metadata #> '{last_update,last_price}' AS last_price,
           s.metadata #> '{last_update,observed_at_ms}' AS observed_at_ms,
           s.metadata #>> '{last_update,as_of}' AS as_of,
           s.metadata #>> '{last_update,source}' AS source,
           s.metadata #>> '{last_update,delay}' AS delay
    FROM trading.symbols AS s
    WHERE s.polygon_ticker IS NOT NULL AND s.polygon_ticker <> ''
      AND (s.is_active IS NOT FALSE OR %(paused)s::boolean)
      AND (%(symbols)s::text[] IS NULL OR s.symbol = ANY(%(symbols)s::text[]))
), tracked AS (
    SELECT symbol::text AS symbol,
           polygon_ticker::text AS polygon_ticker,
           coalesce(asset_type::text, '') AS asset_type,
           name::text AS name,
           CASE WHEN priority < 1 THEN 1
                WHEN priority <= 4 THEN priority::integer
                WHEN priority <> 'NaN'::numeric THEN 4
                ELSE 3 END AS priority,
           CASE WHEN update_frequency_seconds BETWEEN 1 AND 2147483647
                THEN update_frequency_seconds::integer END AS update_frequency_seconds,
           CASE WHEN jsonb_typeof(last_price) = 'number'
                THEN last_price::numeric END AS last_price,
           CASE WHEN as_of ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00$'
                THEN as_of END COLLATE "C" AS as_of,
           source,
           delay,
           CASE WHEN jsonb_typeof(observed_at_ms) = 'number'
                     AND observed_at_ms BETWEEN '0' AND '4102444800000' -- the year 2100
                THEN observed_at_ms::bigint END AS observed_at_ms,
           CASE WHEN updated_at BETWEEN '1900-01-01' AND '2200-01-01'
                THEN updated_at::timestamptz END AS updated_at,
           is_active IS NOT FALSE AS active
    FROM raw
)
SELECT symbol, polygon_ticker, asset_type, name, priority, update_frequency_seconds,
       last_price, as_of, source, delay, observed_at_ms, updated_at, active
FROM tracked
WHERE %(band)s::integer IS NULL OR priority = %(band)s::integer
ORDER BY CASE WHEN %(stalest)s::boolean THEN as_of END NULLS FIRST,
         CASE WHEN %(stalest)s::boolean THEN observed_at_ms END NULLS FIRST,
         priority,
         symbol;
