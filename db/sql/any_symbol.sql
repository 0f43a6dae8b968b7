SELECT symbol::text FROM trading.symbols ORDER BY symbol LIMIT 1;
