-- Parameters stay untyped, so that they fit whatever types the user's columns have (an enum for
-- asset_type, say). Without `overwrite` only empty columns are filled.
UPDATE trading.symbols AS s
SET polygon_ticker = n.polygon_ticker,
    asset_type = n.asset_type,
    name = n.name,
    priority = n.priority,
    update_frequency_seconds = n.update_frequency_seconds,
    updated_at = now()
FROM (
    SELECT symbol,
           CASE WHEN %(overwrite)s::boolean OR polygon_ticker IS NULL
                THEN %(polygon_ticker)s ELSE polygon_ticker END AS polygon_ticker,
           CASE WHEN %(overwrite)s::boolean OR asset_type IS NULL
                THEN %(asset_type)s ELSE asset_type END AS asset_type,
           CASE WHEN %(overwrite)s::boolean OR name IS NULL
                THEN coalesce(%(name)s, name) ELSE name END AS name,
           CASE WHEN %(overwrite)s::boolean OR priority IS NULL
                THEN %(priority)s ELSE priority END AS priority,
           CASE WHEN %(overwrite)s::boolean OR update_frequency_seconds IS NULL
                THEN coalesce(%(update_frequency_seconds)s, update_frequency_seconds)
                ELSE update_frequency_seconds END AS update_frequency_seconds
    FROM trading.symbols
    WHERE symbol = %(symbol)s
) AS n
WHERE s.symbol = n.symbol
  AND (s.polygon_ticker, s.asset_type, s.name, s.priority, s.update_frequency_seconds)
      IS DISTINCT FROM
      (n.polygon_ticker, n.asset_type, n.name, n.priority, n.update_frequency_seconds);
