-- The rows to be written, locked in one fixed order, so that two writers never wait in a circle.
-- NO KEY UPDATE: foreign keys of the user's that point here are not held up.
SELECT symbol::text, coalesce(jsonb_typeof(metadata), 'object')
FROM trading.symbols
WHERE symbol = ANY(%(symbols)s::text[])
ORDER BY symbol
FOR NO KEY UPDATE;
