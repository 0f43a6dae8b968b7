-- Bars of one symbol in a range, in order; {table} is ohlcv_5m.
SELECT bar.ts::timestamptz AS ts, bar.open::numeric AS open, bar.high::numeric AS high,
       bar.low::numeric AS low, bar.close::numeric AS close, bar.volume::numeric AS volume,
       bar.trades::bigint AS trades, 1 AS parts, true AS complete
FROM trading.symbols AS s
JOIN {table} AS bar ON bar.symbol_id = s.id
WHERE s.symbol = %(symbol)s AND bar.ts >= %(start)s AND bar.ts < %(end)s
ORDER BY bar.ts
LIMIT %(limit)s;
