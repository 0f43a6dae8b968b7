"""The latest price of a symbol: trading.symbols.metadata -> 'last_update'."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from enum import StrEnum
from typing import NamedTuple

from db.connection import Connection
from db.queries import sql
from db.rows import NewPrice, instant_text, storable_text


class Verdict(StrEnum):
    """What became of a price that was to be written."""

    CHANGED = "changed"
    """It is stored now."""
    UNCHANGED = "unchanged"
    """The stored one is newer."""
    SUSPECT = "suspect"
    """It is further from the stored one than it may be, and was kept aside: the next observation
    near to it is stored."""
    ALTERED = "altered"
    """The table did not take it as written."""


class Stored(NamedTuple):
    """What became of a price. `known` is the one that was stored before."""

    verdict: Verdict
    known: Decimal | None


def update_prices(
    connection: Connection, observed_at_ms: int, items: Sequence[NewPrice]
) -> dict[str, Stored]:
    """Write the prices that are newer, inside the caller's transaction; what became of each."""
    prices = [item.price for item in items]
    rows = connection.execute(
        sql("update_prices"),
        {
            "observed_at_ms": observed_at_ms,
            "symbol": [item.symbol for item in items],
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
            "furthest": [item.furthest for item in items],
        },
    )
    return {symbol: Stored(Verdict(verdict), known) for symbol, verdict, known in rows}
