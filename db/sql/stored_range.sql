-- The first and the last 5-minute bar of a symbol; NULL where none is stored.
SELECT (SELECT min(bar.ts) FROM market_data.ohlcv_5m AS bar WHERE bar.symbol_id = s.id)::timestamptz,
       (SELECT max(bar.ts) FROM market_data.ohlcv_5m AS bar WHERE bar.symbol_id = s.id)::timestamptz
FROM trading.symbols AS s
WHERE s.symbol = %(symbol)s;
