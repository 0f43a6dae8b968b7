-- Bars of one symbol in a range, in order, made of the 5-minute bars by the view {table}.
SELECT ts, open::numeric AS open, high::numeric AS high, low::numeric AS low,
       close::numeric AS close, volume::numeric AS volume, trades::bigint AS trades, parts, complete
FROM {table}
WHERE symbol = %(symbol)s AND ts >= %(start)s AND ts < %(end)s
ORDER BY ts
LIMIT %(limit)s;
