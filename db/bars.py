"""market_data.ohlcv_5m: 5-minute bars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from db.connection import Connection, unit_of_work
from db.queries import sql
from db.rows import BarLike, SymbolRefresh, storable_text, unstorable_bar

_COLUMNS = ("open", "high", "low", "close", "volume", "vwap", "trades")


class SeriesBar(NamedTuple):
    """A bar of one symbol. `start` is in UTC."""

    symbol: str
    start: datetime
    source: str
    bar: BarLike


class BarRepository:
    """Reads bars; `RefreshWriter` writes them."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def newest(self, symbols: Sequence[str]) -> dict[str, datetime]:
        """The start of the newest bar of each symbol; symbols without bars are absent."""
        with unit_of_work(self._connection):
            rows = self._connection.execute(sql("last_bars"), {"symbols": list(symbols)})
            return dict(rows.fetchall())


def series_bars(items: Iterable[SymbolRefresh]) -> tuple[list[SeriesBar], list[str]]:
    """The bars that can be stored, one per symbol and start, and what is wrong with the others."""
    bars: dict[tuple[str, datetime], SeriesBar] = {}
    flaws = []
    for item in items:
        source = storable_text(str(item.price.source)) or ""
        for bar in item.bars:
            if why := unstorable_bar(bar):
                flaws.append(f"a bar of {item.symbol}: {why}")
                continue
            start = bar.start.astimezone(UTC)
            bars[item.symbol, start] = SeriesBar(item.symbol, start, source, bar)
    return list(bars.values()), flaws


def upsert_bars(connection: Connection, observed_at_ms: int, bars: Sequence[SeriesBar]) -> int:
    """Write the bars that are newer, inside the caller's transaction; returns their number."""
    return connection.execute(
        sql("upsert_bars"),
        {
            "observed_at_ms": observed_at_ms,
            "symbol": [bar.symbol for bar in bars],
            "ts": [bar.start for bar in bars],
            "source": [bar.source for bar in bars],
            **{name: [getattr(bar.bar, name) for bar in bars] for name in _COLUMNS},
        },
    ).rowcount
