"""Which series have no history at all yet."""

from __future__ import annotations

from collections.abc import Sequence

from db.connection import Connection, unit_of_work
from db.queries import sql


def unasked(connection: Connection, symbols: Sequence[str], timeframe: str) -> list[str]:
    """Those of the symbols of which no day of that timeframe was ever asked for."""
    with unit_of_work(connection):
        parameters = {"symbols": list(symbols), "timeframe": timeframe}
        return [symbol for (symbol,) in connection.execute(sql("unasked_series"), parameters)]
