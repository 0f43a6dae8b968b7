"""Read bars and the latest prices into pandas.

    pip install pandas
    python examples/bars.py postgresql://127.0.0.1/assetq EURUSD

Bars of an hour come from the view `market_data.ohlcv_1h`; there are views of 15 minutes, 4 hours
and a day beside it, and the bars of 5 minutes are a table. `complete` is false for a bar of a day
that is not wholly known yet: leave these out before you compare days.
"""

import sys

import pandas as pd
import psycopg

BARS = """
    SELECT ts, open::float8, high::float8, low::float8, close::float8, volume::float8, complete
    FROM market_data.ohlcv_1h WHERE symbol = %s AND ts >= now() - interval '90 days' ORDER BY ts
"""
PRICES = "SELECT symbol, price::float8, as_of, fetched_at, delay FROM trading.latest_prices"


def frame(connection: psycopg.Connection, query: str, *values: str) -> pd.DataFrame:
    """One query as a data frame."""
    cursor = connection.execute(query, values)
    assert cursor.description is not None
    return pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description])


def main(url: str, symbol: str) -> None:
    """Print the last bars with their returns, and every price with its age."""
    with psycopg.connect(url) as connection:
        bars = frame(connection, BARS, symbol).set_index("ts")
        prices = frame(connection, PRICES).set_index("symbol")
    whole = bars[bars["complete"]].copy()
    whole["return"] = whole["close"].pct_change()
    print(whole.tail(24).to_string())
    prices["age"] = pd.Timestamp.now(tz="UTC") - prices["as_of"]
    print(prices.to_string())


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python examples/bars.py DATABASE_URL SYMBOL")
    main(*sys.argv[1:])
