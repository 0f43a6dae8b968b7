SELECT count(*)::bigint
FROM market_data.ohlcv_5m AS b
JOIN trading.symbols AS s ON s.id = b.symbol_id
WHERE s.symbol = ANY(%(symbols)s::text[]);
