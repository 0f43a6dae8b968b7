"""Days of a series as calls left them: storing what one brought, and reading what is known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from db.connection import Connection
from db.coverage import Asked, CoverageRepository
from db.refresh import RefreshWriter
from db.rows import SymbolRefresh
from market.quotes import Bar
from tests.kit.db_data import call, rows

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
DAY = timedelta(days=1)
CALLS = iter(range(10**9))


def ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def bars(start: datetime, count: int, step: timedelta = timedelta(minutes=5)) -> list[Bar]:
    return [
        Bar(start + n * step, Decimal(10 + n), Decimal(12 + n), Decimal(9), Decimal(11 + n), n + D1)
        for n in range(count)
    ]


D1 = Decimal(1)


def store(
    connection: Connection,
    at: datetime,
    start: datetime,
    end: datetime,
    came: Sequence[Bar] = (),
    *,
    symbol: str = "BTCUSD",
    expected: Mapping[date, int] | None = None,
    answered_to: datetime | None = None,
) -> None:
    """Stores what a call granted at that instant asked for and brought."""
    asked = Asked(start, end, expected or {}, answered_to)
    item = SymbolRefresh(symbol, None, came, asked=asked, source="aggregates")
    RefreshWriter(connection).write(ms(at), call(f"call-{next(CALLS)}"), [item])


def statuses(connection: Connection, symbol: str = "BTCUSD") -> dict[str, tuple[str, int]]:
    query = """
        SELECT to_char(day, 'MM-DD'), status, bars FROM market_data.coverage
        WHERE symbol = %s AND timeframe = '5m' AND day < '2026-02-01' AND asked_at IS NOT NULL
        ORDER BY day
    """
    return {day: (status, count) for day, status, count in rows(connection, query, symbol)}


def holes(coverage: CoverageRepository, now: datetime, first: date, last: date) -> Any:
    return coverage.newest_holes(["BTCUSD"], first, last, now=now).get("BTCUSD")
