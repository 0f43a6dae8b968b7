"""The 5-minute bars of an asset as one series that works towards complete.

Coverage tells which days a series lacks. A series is one item of the queue: its call asks for the
newest open days, as many as a call brings, and if more are open it goes back behind the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from db.connection import Connection
from db.coverage import DAILY, FIVE_MINUTES, Asked, CoverageRepository, Hole
from db.symbols import StoredAsset
from market.coverage import (
    SETTLES,
    bars_of_day,
    days_between,
    days_per_call,
    next_bar_end,
)
from market.quotes import Bar, DaysAsked, Observation
from market.tickers import asset_kind
from queueing import Priority
from settings import Settings
from worker.capabilities import Capabilities

_WEEK = timedelta(days=7)


@dataclass(frozen=True)
class SeriesNeed:
    """The newest day that a series can have, and what it lacks; None: nothing now."""

    newest: date
    lacks: Hole | None

    def settled(self, day: date) -> bool:
        """No call is needed for this day, which is the newest."""
        if self.newest < day:
            return False
        return self.lacks is None or self.lacks.again or self.lacks.newest != day

    def urgency(self, newest: Priority = Priority.BARS) -> Priority:
        """How urgent the series is: its newest day as `newest` says, the rest of the week behind
        prices; history and second looks last."""
        if self.lacks is None or self.lacks.again:
            return Priority.BACKFILL
        if self.lacks.newest == self.newest:
            return newest
        return Priority.BARS if self.lacks.newest > self.newest - _WEEK else Priority.BACKFILL


def series_needs(
    assets: Sequence[tuple[str, str]],
    connection: Connection,
    settings: Settings,
    capabilities: Capabilities,
    now: datetime,
    *,
    newest_only: bool = False,
) -> dict[str, SeriesNeed]:
    """symbol → what its series needs at `now`, of (symbol, ticker) pairs.

    `newest_only`: of the newest day alone. A query for each kind of market that has another newest
    day, so three at most.
    """
    groups: dict[tuple[date, int], list[str]] = {}
    for symbol, ticker in assets:
        span = days_per_call(asset_kind(ticker))
        newest = capabilities.newest_bars_day(ticker, bars_until(now))
        groups.setdefault((newest, span), []).append(symbol)
    since = history_since(settings, bars_until(now))  # of the same day as the newest one
    coverage = CoverageRepository(connection)
    needs: dict[str, SeriesNeed] = {}
    for (newest, span), symbols in groups.items():
        first = newest if newest_only else since
        holes = coverage.newest_holes(symbols, first, newest, now=now, span_days=span)
        needs |= {symbol: SeriesNeed(newest, holes.get(symbol)) for symbol in symbols}
    return needs


def history_since(settings: Settings, now: datetime) -> date:
    """The oldest UTC day of which bars are wanted."""
    return (now - timedelta(days=settings.history_days)).astimezone(UTC).date()


def bars_until(now: datetime) -> datetime:
    """Until when bars are taken at `now`: those that end later have not settled."""
    return now - SETTLES


def pairs_of(assets: Sequence[StoredAsset]) -> list[tuple[str, str]]:
    """The assets as `series_needs` takes them."""
    return [(asset.symbol, asset.polygon_ticker) for asset in assets]


def asked_for(
    ticker: str, asked: DaysAsked, seen: Observation | None, granted_at: datetime
) -> Asked:
    """The days of a call as their coverage is recorded."""
    kind, seen_until = asset_kind(ticker), bars_until(granted_at)
    answered_to = None
    if asked.cut:  # oldest first: what follows the last bar was not brought
        answered_to = seen.bars[-1].start if seen and seen.bars else _midnight(asked.first)
    expected = {day: bars_of_day(kind, day) for day in days_between(asked.first, asked.last)}
    ends = _midnight(asked.last) + timedelta(days=1)
    over_at = _midnight(seen_until.date()) + timedelta(days=1)
    next_at = min(next_bar_end(kind, seen_until), over_at) + SETTLES
    starts = _midnight(asked.first)
    return Asked(starts, ends, expected, answered_to, FIVE_MINUTES, seen_until, next_at)


def daily_asked(daily: Sequence[Bar]) -> Asked | None:
    """The coverage of bars of whole days; None: there are none."""
    if not daily:
        return None
    first, last = daily[0].start, daily[-1].start
    expected = dict.fromkeys(days_between(first.date(), last.date()), 1)
    return Asked(first, last + timedelta(days=1), expected, None, DAILY)


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)
