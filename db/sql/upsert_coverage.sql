-- Records what one answer says about days of series. Bars that are stored stay, so their number
-- never falls.
INSERT INTO market_data.coverage_days AS known
    (symbol_id, timeframe, day, asked_at, whole, bars, refused, expected, look_again_at)
SELECT s.id, %(timeframe)s, n.day, %(asked_at)s, n.whole, n.bars, n.refused, n.expected,
       n.look_again_at
FROM unnest(
        %(symbol)s::text[], %(day)s::date[], %(whole)s::boolean[], %(bars)s::integer[],
        %(refused)s::integer[], %(expected)s::integer[], %(look_again_at)s::timestamptz[]
    ) AS n (symbol, day, whole, bars, refused, expected, look_again_at)
JOIN trading.symbols AS s ON s.symbol = n.symbol
ON CONFLICT (symbol_id, timeframe, day) DO UPDATE
SET asked_at = excluded.asked_at,
    whole = excluded.whole,
    bars = greatest(known.bars, excluded.bars),
    refused = excluded.refused,
    expected = excluded.expected,
    look_again_at = excluded.look_again_at
WHERE excluded.asked_at >= known.asked_at AND (excluded.whole OR NOT known.whole);
