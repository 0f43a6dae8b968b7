-- The first and the last 5-minute bar of a symbol, but for those of no real time; NULL where none is
-- stored.
SELECT (SELECT bar.ts FROM market_data.ohlcv_5m AS bar
        WHERE bar.symbol_id = s.id AND bar.ts >= '1970-01-01' AND bar.ts <= now() + interval '1 day'
        ORDER BY bar.ts LIMIT 1)::timestamptz,
       (SELECT bar.ts FROM market_data.ohlcv_5m AS bar
        WHERE bar.symbol_id = s.id AND bar.ts >= '1970-01-01' AND bar.ts <= now() + interval '1 day'
        ORDER BY bar.ts DESC LIMIT 1)::timestamptz
FROM trading.symbols AS s
WHERE s.symbol = %(symbol)s;
