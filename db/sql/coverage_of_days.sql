SELECT symbol, day, status, bars, expected, asked_at
FROM market_data.coverage
WHERE symbol = %(symbol)s AND timeframe = %(timeframe)s
  AND day BETWEEN %(first)s AND %(last)s
ORDER BY day;
