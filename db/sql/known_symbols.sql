-- Symbols that have a ticker, paused ones included.
SELECT symbol::text AS symbol,
       polygon_ticker::text AS polygon_ticker,
       is_active IS NOT FALSE AS active
FROM trading.symbols
WHERE polygon_ticker IS NOT NULL AND polygon_ticker <> ''
ORDER BY symbol;
