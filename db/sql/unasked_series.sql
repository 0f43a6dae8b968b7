-- Those of the symbols of which no day of the timeframe was ever asked for.
SELECT s.symbol
FROM trading.symbols AS s
WHERE s.symbol = ANY (%(symbols)s::text[])
      AND NOT EXISTS (SELECT FROM market_data.coverage_days AS c
                      WHERE c.symbol_id = s.id AND c.timeframe = %(timeframe)s)
ORDER BY s.symbol;
