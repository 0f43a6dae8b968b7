"""The latest price of each asset, as pages and metrics show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from psycopg.rows import kwargs_row

from db.connection import Connection, unit_of_work
from db.queries import sql
from db.rows import parse_instant


@dataclass(frozen=True, slots=True)
class LatestPrice:
    """An asset and its latest price; a value that is absent or out of range is None."""

    symbol: str
    ticker: str
    name: str | None
    band: int
    """1 (critical) to 4 (low)."""
    every_s: int | None
    """The asset's own interval, `update_frequency_seconds`."""
    active: bool
    """False: it is paused, and no round asks for it."""
    price: Decimal | None = None
    day_open: Decimal | None = None
    as_of_ms: int | None = None
    """When the price was true."""
    fetched_at_ms: int | None = None
    """When it was learned."""
    source: str | None = None
    delay: str | None = None


def latest_prices(
    connection: Connection, symbols: Sequence[str] | None = None
) -> list[LatestPrice]:
    """All assets, or those of the symbols that there are, in no order. One statement."""
    with (
        unit_of_work(connection),
        connection.cursor(row_factory=kwargs_row(_latest)) as cursor,
    ):
        parameters = {"symbols": None if symbols is None else list(symbols)}
        return list(cursor.execute(sql("select_freshness"), parameters))


def _latest(*, as_of: str | None, **columns: Any) -> LatestPrice:
    at = parse_instant(as_of)
    return LatestPrice(as_of_ms=int(at.timestamp() * 1000) if at else None, **columns)
