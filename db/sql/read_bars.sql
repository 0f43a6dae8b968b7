-- Bars of one symbol in a range, in order; {table} is ohlcv_5m. The id is looked up first: then the
-- bars come in the order of their primary key, and no more are read than asked for.
SELECT bar.ts::timestamptz AS ts, bar.open::numeric AS open, bar.high::numeric AS high,
       bar.low::numeric AS low, bar.close::numeric AS close, bar.volume::numeric AS volume,
       bar.trades::bigint AS trades, 1 AS parts, true AS complete
FROM {table} AS bar
WHERE bar.symbol_id = (SELECT id FROM trading.symbols WHERE symbol = %(symbol)s LIMIT 1)
  AND bar.ts >= %(start)s AND bar.ts < %(end)s
ORDER BY bar.ts
LIMIT %(limit)s;
