-- The start of the newest bar of each tracked symbol; a symbol without bars has no row.
SELECT s.symbol::text, newest.ts::timestamptz -- one without time zone is UTC
FROM trading.symbols AS s
CROSS JOIN LATERAL (
    SELECT bar.ts FROM market_data.ohlcv_5m AS bar
    WHERE bar.symbol_id = s.id
    ORDER BY bar.ts DESC
    LIMIT 1
) AS newest
WHERE s.symbol = ANY(%(symbols)s::text[]);
