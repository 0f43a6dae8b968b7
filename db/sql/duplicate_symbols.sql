SELECT symbol::text FROM trading.symbols GROUP BY symbol HAVING count(*) > 1 ORDER BY 1 LIMIT 5;
