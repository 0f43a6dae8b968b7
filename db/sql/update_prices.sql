-- Replaces metadata -> 'last_update' where (as_of, observed_at_ms) is newer; returns the symbols
-- that changed. The user's other keys of metadata stay. as_of always has the one form that the
-- pattern tells, in which text order (C collation) is order in time; anything else that stands
-- there was not written by assetq and gives way. Numbers travel as numeric: no float rounds them.
UPDATE trading.symbols AS s
SET metadata = coalesce(s.metadata, '{}'::jsonb) || jsonb_build_object(
        'last_update', jsonb_build_object(
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
            'observed_at_ms', %(observed_at_ms)s::bigint
        )),
    updated_at = now()
FROM unnest(
        %(symbol)s::text[], %(bid)s::numeric[], %(ask)s::numeric[], %(last_price)s::numeric[],
        %(daily_open)s::numeric[], %(daily_high)s::numeric[], %(daily_low)s::numeric[],
        %(daily_close)s::numeric[], %(as_of)s::text[], %(source)s::text[], %(delay)s::text[]
    ) AS n (symbol, bid, ask, last_price, daily_open, daily_high, daily_low, daily_close,
            as_of, source, delay)
WHERE s.symbol = n.symbol
  AND CASE
          WHEN s.metadata #>> '{last_update,as_of}'
                   ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}\+00:00$'
               AND jsonb_typeof(s.metadata #> '{last_update,observed_at_ms}') = 'number'
          THEN (n.as_of COLLATE "C", %(observed_at_ms)s::numeric)
               > ((s.metadata #>> '{last_update,as_of}') COLLATE "C",
                  (s.metadata #>> '{last_update,observed_at_ms}')::numeric)
          ELSE true
      END
RETURNING s.symbol::text;
