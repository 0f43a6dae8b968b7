"""market_data.ohlcv_5m and ohlcv_1d: bars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from psycopg.sql import SQL, Identifier

from db.connection import Connection
from db.coverage import DAILY, FIVE_MINUTES
from db.queries import sql
from db.rows import BarLike, SymbolRefresh, storable_text, unstorable_bar

_TABLES = {
    FIVE_MINUTES: Identifier("market_data", "ohlcv_5m"),
    DAILY: Identifier("market_data", "ohlcv_1d"),
}
_COLUMNS = ("open", "high", "low", "close", "volume", "vwap", "trades")


class SeriesBar(NamedTuple):
    """A bar of one symbol."""

    symbol: str
    start: datetime
    source: str
    bar: BarLike


def series_bars(
    items: Iterable[SymbolRefresh], timeframe: str
) -> tuple[list[SeriesBar], list[SeriesBar]]:
    """The bars that can be stored, one per symbol and start, and those that cannot."""
    bars: dict[tuple[str, datetime], SeriesBar] = {}
    flawed = []
    for item in items:
        source = storable_text(item.source or (str(item.price.source) if item.price else ""))
        for bar in item.bars_of(timeframe):
            row = SeriesBar(item.symbol, bar.start, source or "", bar)
            if unstorable_bar(bar):
                flawed.append(row)
            else:
                bars[item.symbol, bar.start.astimezone(UTC)] = row
    return list(bars.values()), flawed


def upsert_bars(
    connection: Connection, observed_at_ms: int, timeframe: str, bars: Sequence[SeriesBar]
) -> int:
    """Write the bars that are newer, inside the caller's transaction; returns their number."""
    return connection.execute(
        SQL(sql("upsert_bars")).format(table=_TABLES[timeframe]),
        {
            "observed_at_ms": observed_at_ms,
            "symbol": [bar.symbol for bar in bars],
            "ts": [bar.start for bar in bars],
            "source": [bar.source for bar in bars],
            **{name: [getattr(bar.bar, name) for bar in bars] for name in _COLUMNS},
        },
    ).rowcount
