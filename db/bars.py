"""market_data.ohlcv_5m: how far the stored bars reach."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from db.connection import Connection, translated_errors
from db.queries import sql


class BarRepository:
    """Reads bars; `RefreshWriter` writes them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def newest(self, symbols: Sequence[str]) -> dict[str, datetime]:
        """The start of the newest bar of each symbol; symbols without bars are absent."""
        with translated_errors(self._connection):
            rows = self._connection.execute(sql("last_bars"), {"symbols": list(symbols)})
            return dict(rows.fetchall())
