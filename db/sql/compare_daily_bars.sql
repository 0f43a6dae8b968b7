-- Whether the 5-minute bars of the days add up to the daily bars: open, high, low and close within
-- 1e-5 of the price, which is rounding and no tick, and nine tenths of the volume: open and close,
-- the high and the low may all lie outside of a gap. A day that begins to differ is looked at again
-- soon. Days without a daily bar are left alone.
WITH days AS (
    SELECT DISTINCT s.id AS symbol_id, n.day, n.day::timestamp AT TIME ZONE 'UTC' AS begins
    FROM unnest(%(symbol)s::text[], %(day)s::date[]) AS n (symbol, day)
    JOIN trading.symbols AS s ON s.symbol = n.symbol
), compared AS (
    SELECT days.symbol_id, days.day,
           coalesce(abs(parts.open - daily.open) <= 1e-5 * abs(daily.open)
                    AND abs(parts.high - daily.high) <= 1e-5 * abs(daily.high)
                    AND abs(parts.low - daily.low) <= 1e-5 * abs(daily.low)
                    AND abs(parts.close - daily.close) <= 1e-5 * abs(daily.close)
                    AND coalesce(parts.volume >= 0.9 * daily.volume, true), false) AS agrees
    FROM days
    JOIN market_data.ohlcv_1d AS daily
        ON daily.symbol_id = days.symbol_id AND daily.ts = days.begins
    CROSS JOIN LATERAL (
        SELECT (array_agg(bar.open ORDER BY bar.ts))[1] AS open, max(bar.high) AS high,
               min(bar.low) AS low, (array_agg(bar.close ORDER BY bar.ts DESC))[1] AS close,
               sum(bar.volume) AS volume
        FROM market_data.ohlcv_5m AS bar
        WHERE bar.symbol_id = days.symbol_id
          AND bar.ts >= days.begins AND bar.ts < days.begins + interval '1 day'
    ) AS parts
)
UPDATE market_data.coverage_days AS known
SET agrees = compared.agrees,
    look_again_at = CASE WHEN compared.agrees THEN known.look_again_at
                         ELSE least(known.look_again_at, %(soon)s) END
FROM compared
WHERE known.symbol_id = compared.symbol_id AND known.day = compared.day
  AND known.timeframe = '5m' AND known.agrees IS DISTINCT FROM compared.agrees;
