UPDATE trading.symbols
SET is_active = %(active)s, updated_at = now()
WHERE symbol = ANY(%(symbols)s::text[])
  AND (is_active IS NOT FALSE) IS DISTINCT FROM %(active)s::boolean
RETURNING symbol::text;
