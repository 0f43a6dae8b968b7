-- Writes bars; a stored one is replaced by a newer observation only, whatever it holds,
-- so corrections arrive and late answers do not. Called while the symbols' rows are locked.
INSERT INTO {table} AS bar
    (symbol_id, ts, open, high, low, close, volume, vwap, trades, source, observed_at_ms)
SELECT s.id, n.ts, n.open, n.high, n.low, n.close, n.volume, n.vwap, n.trades, n.source,
       %(observed_at_ms)s::bigint
FROM unnest(
        %(symbol)s::text[], %(ts)s::timestamptz[], %(open)s::numeric[], %(high)s::numeric[],
        %(low)s::numeric[], %(close)s::numeric[], %(volume)s::numeric[], %(vwap)s::numeric[],
        %(trades)s::bigint[], %(source)s::text[]
    ) AS n (symbol, ts, open, high, low, close, volume, vwap, trades, source)
JOIN trading.symbols AS s ON s.symbol = n.symbol
ON CONFLICT (symbol_id, ts) DO UPDATE
SET open = excluded.open,
    high = excluded.high,
    low = excluded.low,
    close = excluded.close,
    volume = excluded.volume,
    vwap = excluded.vwap,
    trades = excluded.trades,
    source = excluded.source,
    observed_at_ms = excluded.observed_at_ms
WHERE bar.observed_at_ms IS NULL OR excluded.observed_at_ms > bar.observed_at_ms;
