"""The latest price of a symbol: trading.symbols.metadata -> 'last_update'."""

from __future__ import annotations

from collections.abc import Sequence

from db.connection import Connection
from db.queries import sql
from db.rows import PriceLike, instant_text, storable_text

CHANGED, ALTERED = "changed", "altered"


def update_prices(
    connection: Connection, observed_at_ms: int, items: Sequence[tuple[str, PriceLike]]
) -> dict[str, str]:
    """Write the (symbol, price) that are newer, inside the caller's transaction; symbol → verdict.

    CHANGED: this price is stored now. ALTERED: the table did not take it as written. Any other:
    the stored one is newer.
    """
    prices = [price for _, price in items]
    rows = connection.execute(
        sql("update_prices"),
        {
            "observed_at_ms": observed_at_ms,
            "symbol": [symbol for symbol, _ in items],
            "last_price": [price.last for price in prices],
            "bid": [price.bid for price in prices],
            "ask": [price.ask for price in prices],
            "daily_open": [price.daily_open for price in prices],
            "daily_high": [price.daily_high for price in prices],
            "daily_low": [price.daily_low for price in prices],
            "daily_close": [price.daily_close for price in prices],
            "as_of": [instant_text(price.as_of) for price in prices],
            "source": [storable_text(str(price.source)) for price in prices],
            "delay": [storable_text(str(price.delay)) for price in prices],
            "basis": [storable_text(str(price.basis)) for price in prices],
        },
    )
    return dict(rows.fetchall())
