-- Replaces metadata -> 'last_update' where (as_of, observed_at_ms) is newer, and tells for each
-- symbol the stored price and a verdict: changed (also if exactly this observation is stored: the
-- acknowledgement of its commit may have been lost), unchanged (a newer one is stored), altered (a
-- trigger of the table did not store what was written), or suspect.
-- A newer price is suspect if it lies further from the stored one than its "furthest" allows (a part
-- of the lower of the two; null: anything goes), unless the suspect one of another observation says
-- the same. It is kept in metadata -> 'suspect_update', which the next price that is believed
-- removes. The user's other keys of metadata stay.
-- as_of always has the one form of the pattern, in which text order (C collation) is time order;
-- any other stored value, one that differs from timestamp, and one from the future was not
-- written by assetq and gives way.
-- Numbers travel as numeric: no float rounds them.
WITH new AS (
    SELECT n.symbol, n.as_of COLLATE "C" AS as_of, n.last_price, n.furthest,
           %(observed_at_ms)s::bigint AS observed_at_ms,
           jsonb_build_object(
               'bid', n.bid,
               'ask', n.ask,
               'last_price', n.last_price,
               'daily_open', n.daily_open,
               'daily_high', n.daily_high,
               'daily_low', n.daily_low,
               'daily_close', n.daily_close,
               'timestamp', n.as_of,
               'as_of', n.as_of,
               'source', n.source,
               'delay', n.delay,
               'basis', n.basis,
               'observed_at_ms', %(observed_at_ms)s::bigint
           ) AS price
    FROM unnest(
            %(symbol)s::text[], %(bid)s::numeric[], %(ask)s::numeric[], %(last_price)s::numeric[],
            %(daily_open)s::numeric[], %(daily_high)s::numeric[], %(daily_low)s::numeric[],
            %(daily_close)s::numeric[], %(as_of)s::text[], %(source)s::text[], %(delay)s::text[],
            %(basis)s::text[], %(furthest)s::numeric[]
        ) AS n (symbol, bid, ask, last_price, daily_open, daily_high, daily_low, daily_close,
                as_of, source, delay, basis, furthest)
), stored AS (
    SELECT new.*,
           s.metadata -> 'last_update' = new.price AS same,
           CASE
               WHEN s.metadata #>> '{last_update,as_of}'
                        ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00$'
                    AND s.metadata #> '{last_update,as_of}' = s.metadata #> '{last_update,timestamp}'
                    AND (s.metadata #>> '{last_update,as_of}') COLLATE "C"
                        < to_char(now() + interval '1 day', 'YYYY-MM-DD') COLLATE "C"
                    AND jsonb_typeof(s.metadata #> '{last_update,observed_at_ms}') = 'number'
               THEN (new.as_of, new.observed_at_ms::numeric)
                    > ((s.metadata #>> '{last_update,as_of}') COLLATE "C",
                       (s.metadata #>> '{last_update,observed_at_ms}')::numeric)
               ELSE true
           END AS newer,
           CASE WHEN jsonb_typeof(s.metadata #> '{last_update,last_price}') = 'number'
                THEN (s.metadata #>> '{last_update,last_price}')::numeric END AS known,
           CASE WHEN jsonb_typeof(s.metadata #> '{suspect_update,last_price}') = 'number'
                     AND jsonb_typeof(s.metadata #> '{suspect_update,observed_at_ms}') = 'number'
                     AND s.metadata #> '{suspect_update,observed_at_ms}'
                         <> to_jsonb(new.observed_at_ms)
                THEN (s.metadata #>> '{suspect_update,last_price}')::numeric END AS suspected
    FROM new
    JOIN trading.symbols AS s ON s.symbol = new.symbol
), compared AS (
    SELECT stored.*,
           coalesce(newer AND known > 0
                    AND greatest(last_price, known) > least(last_price, known) * (1 + furthest)
                    AND (suspected IS NULL OR suspected <= 0
                         OR greatest(last_price, suspected)
                            > least(last_price, suspected) * (1 + furthest)),
                    false) AS suspect
    FROM stored
), updated AS (
    UPDATE trading.symbols AS s
    SET metadata = CASE
            WHEN compared.suspect
            THEN s.metadata || jsonb_build_object('suspect_update', compared.price)
            ELSE CASE WHEN jsonb_typeof(s.metadata) = 'object'
                      THEN s.metadata - 'suspect_update' ELSE '{}' END
                 || jsonb_build_object('last_update', compared.price)
            END,
        updated_at = now()
    FROM compared
    WHERE s.symbol = compared.symbol AND compared.newer
    RETURNING compared.symbol,
              s.metadata #>> '{last_update,as_of}' = compared.as_of
              AND s.metadata #> '{last_update,observed_at_ms}' = to_jsonb(compared.observed_at_ms)
              AS as_written
)
SELECT compared.symbol,
       CASE WHEN compared.suspect THEN 'suspect'
            WHEN compared.same OR updated.as_written THEN 'changed'
            WHEN compared.newer THEN 'altered'
            ELSE 'unchanged' END,
       compared.known
FROM compared
LEFT JOIN updated ON updated.symbol = compared.symbol;
