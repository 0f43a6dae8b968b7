"""market_data.coverage_days: what was asked for of each series and UTC day, and what came.

A series is a symbol and a timeframe. `RefreshWriter` records each answer in the transaction that
stores its bars; `CoverageRepository` tells what is still to be asked for.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import NamedTuple

from psycopg.rows import class_row

from db.connection import Connection, unit_of_work
from db.queries import sql

FIVE_MINUTES, DAILY = "5m", "1d"
FULL_DAY = {FIVE_MINUTES: 288, DAILY: 1}

COMPLETE_SHARE = 0.9
"""Bars of a complete day in relation to those of its market: five minutes without a tick make no
bar. The view market_data.coverage has the same figure."""
SETTLED = timedelta(days=3)
"""The vendor repairs a day until so long after its end: then it is looked at for the last time."""
ALONG = timedelta(hours=36)
"""So much longer the last look waits for a call that takes it along: an end-of-day plan has one for
each new day of a market, hours after midnight, and over a weekend none for a day."""
FRESH = timedelta(days=1)
"""So long after its end a day with gaps may be half published, and is looked at again soon."""
SOON = timedelta(hours=4)
DENSE = 0.8
"""Bars until the last one of a day that was cut off, in relation to the slots until then; a quiet
market has fewer."""
NEXT_BAR = timedelta(minutes=5)


@dataclass(frozen=True)
class Asked:
    """The range of one series that a call asked for.

    `end` is exclusive. `answered_to` is where the answer was cut (a page, a limit); None: it was
    not. `expected` tells the bars of a full day of its market, 0 for a closed one; a day that is
    absent counts as a day around the clock. Of a day that is not over the answer tells what was
    there at `seen_until` (None: when it was asked for), and `next_at` is when there will be more
    (None: five minutes later).
    """

    start: datetime
    end: datetime
    expected: Mapping[date, int] = field(default_factory=dict)
    answered_to: datetime | None = None
    timeframe: str = FIVE_MINUTES
    seen_until: datetime | None = None
    next_at: datetime | None = None


class CoveredDay(NamedTuple):
    """A row of market_data.coverage_days, without its symbol."""

    day: date
    whole: bool
    bars: int
    refused: int
    expected: int
    look_again_at: datetime | None


@dataclass(frozen=True)
class Hole:
    """What a series lacks within a range of days.

    `newest` is the day to ask for next and `oldest` the oldest one that is to be asked for, or that
    may be looked at for the last time, within `span_days` of it, so that one call brings them all;
    `days` is the number of those to be asked for in the whole range.
    `again`: nothing is missing, and this is a second look for late repairs. `asked_at`: when the
    newest day was last asked for; None: never.
    """

    symbol: str
    newest: date
    oldest: date
    days: int
    again: bool
    asked_at: datetime | None = None


@dataclass(frozen=True)
class DayStatus:
    """A day of a series: complete, sparse, pending, missing or closed."""

    symbol: str
    day: date
    status: str
    bars: int
    expected: int | None
    asked_at: datetime | None


def covered_days(
    asked: Asked, stored: Collection[datetime], refused: Iterable[datetime], asked_at: datetime
) -> list[CoveredDay]:
    """The days that an answer says something about. `stored` and `refused` are starts of bars, in
    UTC."""
    came = Counter(at.date() for at in stored)
    lost = Counter(at.date() for at in refused)
    last = {at.date(): at for at in sorted(stored)}
    seen_until = asked.seen_until or asked_at
    speaks_to = min(asked.end, asked.answered_to or asked.end, seen_until)
    found = []
    day = asked.start.astimezone(UTC).date()
    while (begins := datetime.combine(day, time.min, UTC)) < speaks_to:
        ends = begins + timedelta(days=1)
        whole = asked.start <= begins and ends <= speaks_to
        expected = asked.expected.get(day, FULL_DAY[asked.timeframe])
        again = None
        if whole:
            slots = (last.get(day, begins) - begins) / NEXT_BAR + 1
            thin = 0 < came[day] < DENSE * slots
            again = look_again_at(ends, asked_at, came[day], expected, thin=thin)
        elif seen_until < ends:  # the day goes on
            again = asked.next_at or asked_at + NEXT_BAR
        found.append(CoveredDay(day, whole, came[day], lost[day], expected, again))
        day += timedelta(days=1)
    return found


def look_again_at(
    day_end: datetime, asked_at: datetime, bars: int, expected: int, *, thin: bool = False
) -> datetime | None:
    """When a day that was asked for as a whole is to be asked for once more; None: never.

    Every day once, when the vendor's repairs are over: for `ALONG` the look waits for a call that
    takes the day along, so that it seldom costs one of its own. A day that is empty or stops early
    is looked at sooner, as long as it may be half published: some six calls where it stays so.
    `thin`: it has gaps throughout, as a quiet market has, and none of the calls would fill them.
    """
    if expected == 0 or asked_at >= day_end + SETTLED:
        return None
    if bars < COMPLETE_SHARE * expected and not thin and asked_at < day_end + FRESH:
        return asked_at + SOON
    return day_end + SETTLED + ALONG


class CoverageRepository:
    """Tells what is still to be asked for."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def newest_holes(
        self,
        symbols: Sequence[str],
        first: date,
        last: date,
        *,
        now: datetime,
        span_days: int = 34,
        timeframe: str = FIVE_MINUTES,
    ) -> dict[str, Hole]:
        """The newest hole of each series within the days, both inclusive; absent: it has none.

        A hole is a day that was not asked for, that the answer did not reach, or that is to be
        looked at again by `now`: a day that is not over when its next bar is. Reads one row per
        series and day of the range.
        """
        parameters = {
            "symbols": list(symbols),
            "timeframe": timeframe,
            "first": first,
            "last": last,
            "now": now,
            "settled": (now - SETTLED).astimezone(UTC).date() - timedelta(days=1),
            "span_days": span_days,
        }
        with (
            unit_of_work(self._connection),
            self._connection.cursor(row_factory=class_row(Hole)) as cursor,
        ):
            holes = cursor.execute(sql("newest_holes"), parameters).fetchall()
        return {hole.symbol: hole for hole in holes}

    def days(
        self, symbol: str, first: date, last: date, *, timeframe: str = FIVE_MINUTES
    ) -> tuple[DayStatus, ...]:
        """The days of one series that the view tells of, in order."""
        parameters = {"symbol": symbol, "timeframe": timeframe, "first": first, "last": last}
        with (
            unit_of_work(self._connection),
            self._connection.cursor(row_factory=class_row(DayStatus)) as cursor,
        ):
            return tuple(cursor.execute(sql("coverage_of_days"), parameters))


def record_days(
    connection: Connection,
    asked_at: datetime,
    timeframe: str,
    rows: Sequence[tuple[str, CoveredDay]],
) -> None:
    """Record (symbol, day) inside the caller's transaction, and compare with the daily bars.

    A newer answer replaces an older one, but one that speaks for a part of a day never one that
    spoke for the whole.
    """
    if rows:
        upsert_days(connection, asked_at, timeframe, rows)


def upsert_days(
    connection: Connection,
    asked_at: datetime,
    timeframe: str,
    rows: Sequence[tuple[str, CoveredDay]],
) -> None:
    """The statements of `record_days`, also where there is nothing to record."""
    parameters = {
        "asked_at": asked_at,
        "timeframe": timeframe,
        "symbol": [symbol for symbol, _ in rows],
        **{name: [getattr(day, name) for _, day in rows] for name in CoveredDay._fields},
        "soon": asked_at + SOON,
    }
    connection.execute(sql("upsert_coverage"), parameters)
    connection.execute(sql("compare_daily_bars"), parameters)
