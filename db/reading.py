"""What is stored, for people and programs that read it: symbols, bars, coverage in numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal

from psycopg.rows import class_row
from psycopg.sql import SQL, Identifier

from db.connection import Connection, Limits, unit_of_work
from db.coverage import FIVE_MINUTES
from db.queries import sql

TIMEFRAMES = {
    FIVE_MINUTES: "ohlcv_5m",
    "15m": "ohlcv_15m",
    "1h": "ohlcv_1h",
    "4h": "ohlcv_4h",
    "1d": "ohlcv_1d_utc",
}
"""Timeframe → the table or view that has its bars."""

_PATIENT = Limits(statement_s=120.0, idle_s=3600.0)
"""For a reader whose output waits in a pager."""
_AT_ONCE = 5_000


@dataclass(frozen=True)
class KnownSymbol:
    """A symbol with a ticker; `active` false: it is paused."""

    symbol: str
    polygon_ticker: str
    active: bool


@dataclass(frozen=True)
class StoredBar:
    """A bar that begins at `ts`, made of `parts` 5-minute bars; `complete`: of all there can be."""

    ts: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    trades: int | None
    parts: int
    complete: bool


@dataclass(frozen=True)
class SeriesCoverage:
    """The days of one series in numbers, from `first` on; `newest` are the last of them, in order.

    Days of the asked range before `first` were never asked for and are not counted.
    """

    symbol: str
    first: date
    complete: int
    sparse: int
    pending: int
    missing: int
    closed: int
    newest: list[str]


def known_symbols(connection: Connection) -> dict[str, KnownSymbol]:
    """All symbols that have a ticker, by name and in its order."""
    with (
        unit_of_work(connection),
        connection.cursor(row_factory=class_row(KnownSymbol)) as cursor,
    ):
        return {known.symbol: known for known in cursor.execute(sql("known_symbols"))}


def stored_range(connection: Connection, symbol: str) -> tuple[datetime, datetime] | None:
    """The beginnings of the first and the last 5-minute bar; None: there is none."""
    with unit_of_work(connection):
        row = connection.execute(sql("stored_range"), {"symbol": symbol}).fetchone()
    return (row[0], row[1]) if row and row[0] is not None else None


def read_bars(
    connection: Connection,
    symbol: str,
    timeframe: str,
    start: datetime,
    end: datetime,
    *,
    limit: int | None = None,
) -> Iterator[StoredBar]:
    """The bars that begin from `start` until before `end`, in order, at most `limit` of them.

    Streams: only some thousand are in memory, and all are of one snapshot. The connection is free
    again when the last one was taken. Raises DatabaseError.
    """
    statement = "read_bars" if timeframe == FIVE_MINUTES else "read_made_bars"
    table = Identifier("market_data", TIMEFRAMES[timeframe])
    parameters = {"symbol": symbol, "start": start, "end": end, "limit": limit}
    with (
        unit_of_work(connection, _PATIENT),
        connection.cursor("assetq_bars", row_factory=class_row(StoredBar)) as cursor,
    ):
        cursor.itersize = _AT_ONCE
        cursor.execute(SQL(sql(statement)).format(table=table), parameters)
        yield from cursor


def coverage_counts(
    connection: Connection, first: date, last: date, *, newest: date, timeframe: str = FIVE_MINUTES
) -> dict[str, SeriesCoverage]:
    """Symbol → its days from `first` to `last` in numbers, and those from `newest` on by name.

    Absent: a series of which no day was ever asked for. Reads one row per series and day.
    """
    parameters = {"timeframe": timeframe, "first": first, "last": last, "newest": newest}
    with (
        unit_of_work(connection, _PATIENT),
        connection.cursor(row_factory=class_row(SeriesCoverage)) as cursor,
    ):
        return {row.symbol: row for row in cursor.execute(sql("coverage_counts"), parameters)}
