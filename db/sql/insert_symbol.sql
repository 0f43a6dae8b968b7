INSERT INTO trading.symbols
    (symbol, polygon_ticker, asset_type, name, priority, update_frequency_seconds)
VALUES (%(symbol)s, %(polygon_ticker)s, %(asset_type)s, %(name)s, %(priority)s,
        %(update_frequency_seconds)s)
ON CONFLICT (symbol) DO NOTHING;
