SELECT 1 FROM trading.symbols WHERE symbol = %(symbol)s FOR UPDATE;
