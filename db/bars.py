"""market_data.ohlcv_5m and ohlcv_1d: bars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from operator import attrgetter
from typing import NamedTuple

from psycopg.sql import SQL, Identifier

from db.connection import Connection
from db.coverage import DAILY, FIVE_MINUTES
from db.queries import sql
from db.rows import BarLike, SymbolRefresh, all_plain, storable_text, unstorable_bar

_TABLES = {
    FIVE_MINUTES: Identifier("market_data", "ohlcv_5m"),
    DAILY: Identifier("market_data", "ohlcv_1d"),
}
_COLUMNS = ("open", "high", "low", "close", "volume", "vwap", "trades")


class SeriesBar(NamedTuple):
    """A bar of one symbol. `start` is in UTC: in another zone two instants may be equal, when its
    clock is set back."""

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
        plain = all_plain(item.bars_of(timeframe))
        for bar in item.bars_of(timeframe):
            row = SeriesBar(item.symbol, bar.start.astimezone(UTC), source or "", bar)
            if not plain and unstorable_bar(bar):
                flawed.append(row)
            else:
                bars[item.symbol, row.start] = row
    return list(bars.values()), flawed


def upsert_bars(
    connection: Connection, observed_at_ms: int, timeframe: str, bars: Sequence[SeriesBar]
) -> int:
    """Write the bars that are newer, inside the caller's transaction; returns their number."""
    rows = [bar.bar for bar in bars]
    return connection.execute(
        SQL(sql("upsert_bars")).format(table=_TABLES[timeframe]),
        {
            "observed_at_ms": observed_at_ms,
            "symbol": _array([_quoted(bar.symbol) for bar in bars]),
            "ts": _array([str(bar.start) for bar in bars]),
            "source": _array([_quoted(bar.source) for bar in bars]),
            **{name: _array(_numbers(map(attrgetter(name), rows))) for name in _COLUMNS},
        },
    ).rowcount


def _array(texts: Iterable[str]) -> str:
    """An array as PostgreSQL reads it. psycopg writes a list element by element, which takes longer
    than PostgreSQL's own work."""
    return f"{{{','.join(texts)}}}"


def _numbers(column: Iterable[Decimal | int | None]) -> list[str]:
    return ["NULL" if number is None else str(number) for number in column]


@lru_cache
def _quoted(text: str) -> str:
    """An element of a text array."""
    return '"' + text.replace("\\", r"\\").replace('"', r"\"") + '"'
