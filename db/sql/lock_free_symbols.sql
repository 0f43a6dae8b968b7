-- Like lock_symbols, without waiting: symbol, JSON type of its metadata, whether it is locked now.
SELECT s.symbol::text, coalesce(jsonb_typeof(s.metadata), 'object'), free.symbol IS NOT NULL
FROM trading.symbols AS s
LEFT JOIN (
    SELECT symbol FROM trading.symbols
    WHERE symbol = ANY(%(symbols)s::text[])
    ORDER BY symbol
    FOR NO KEY UPDATE SKIP LOCKED
) AS free ON free.symbol = s.symbol
WHERE s.symbol = ANY(%(symbols)s::text[]);
