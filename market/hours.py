"""When a ticker's market trades, in New York time as the provider does it.

Forex runs from Sunday 17:00 to Friday 17:00; metals open an hour later and pause from 17:00 to
18:00 every day; crypto never closes. No holidays: the provider publishes none, and a call on a
quiet day costs less than a price that is missed. Instants are aware; days are UTC, because the
provider's bars are."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Final
from zoneinfo import ZoneInfo

from market.tickers import AssetKind, asset_kind

_NEW_YORK: Final = ZoneInfo("America/New_York")
_SUNDAY, _FRIDAY = -1, 4  # days counted from the week's Monday
_WEEK: Final = {
    AssetKind.FOREX: (((_SUNDAY, 17), (_FRIDAY, 17)),),
    AssetKind.METAL: tuple(((day, 18), (day + 1, 17)) for day in range(_SUNDAY, _FRIDAY)),
}


def is_open(ticker: str, at: datetime) -> bool:
    """Whether the market of this ticker trades at that instant. Raises InvalidTicker."""
    kind = asset_kind(ticker)
    return kind is AssetKind.CRYPTO or any(o <= at < c for o, c in _sessions(kind, at))


def last_close(ticker: str, at: datetime) -> datetime | None:
    """The newest closing time not after that instant; None for a market that never closes."""
    kind = asset_kind(ticker)
    if kind is AssetKind.CRYPTO:
        return None
    return max(close for _, close in _sessions(kind, at) if close <= at)


def last_open(ticker: str, at: datetime) -> datetime | None:
    """The newest opening time not after that instant; None for a market that never closes."""
    kind = asset_kind(ticker)
    if kind is AssetKind.CRYPTO:
        return None
    return max(opens for opens, _ in _sessions(kind, at) if opens <= at)


def trades_on(kind: AssetKind, day: date) -> bool:
    """Whether the market trades at any time of that UTC day (forex: not on Saturdays, and on
    Sundays only in the last hours)."""
    return bool(sessions_on(kind, day))


def sessions_on(kind: AssetKind, day: date) -> tuple[tuple[datetime, datetime], ...]:
    """When the market trades on that UTC day: openings and closings, cut at midnight, in order."""
    start = datetime.combine(day, time.min, UTC)
    end = start + timedelta(days=1)
    if kind is AssetKind.CRYPTO:
        return ((start, end),)
    overlaps = ((max(o, start), min(c, end)) for o, c in _sessions(kind, start))
    return tuple(sorted({(o, c) for o, c in overlaps if o < c}))


def sessions_between(
    kind: AssetKind, start: datetime, end: datetime
) -> list[tuple[datetime, datetime]]:
    """When the market trades between two instants: openings and closings, in order. A session that
    goes on at midnight is one."""
    found: list[tuple[datetime, datetime]] = []
    day = start.astimezone(UTC).date()
    while datetime.combine(day, time.min, UTC) < end:
        for opens, closes in sessions_on(kind, day):
            opens, closes = max(opens, start), min(closes, end)
            if opens >= closes:
                continue
            if found and found[-1][1] == opens:
                opens = found.pop()[0]
            found.append((opens, closes))
        day += timedelta(days=1)
    return found


def last_trading_day(kind: AssetKind, before: date) -> date:
    """The newest UTC day before that one on which the market trades."""
    day = before - timedelta(days=1)
    while not trades_on(kind, day):
        day -= timedelta(days=1)
    return day


def _sessions(kind: AssetKind, around: datetime) -> Iterator[tuple[datetime, datetime]]:
    """Opening and closing times in UTC, from the week before to the week after."""
    today = around.astimezone(_NEW_YORK).date()
    this_monday = today - timedelta(days=today.weekday())
    for week in (-1, 0, 1):
        monday = this_monday + timedelta(weeks=week)
        for opens, closes in _WEEK[kind]:
            yield _instant(monday, *opens), _instant(monday, *closes)


def _instant(monday: date, day: int, hour: int) -> datetime:
    local = datetime.combine(monday + timedelta(days=day), time(hour), _NEW_YORK)
    return local.astimezone(UTC)
