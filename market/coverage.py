"""How much one call brings of a series of five-minute bars, and how much a day has: plain facts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from market.hours import sessions_on
from market.tickers import AssetKind

BAR: Final = timedelta(minutes=5)
CALL_MINUTES: Final = 50_000
"""What one call gives, counted in minutes that the market trades."""
SETTLES: Final = timedelta(seconds=15)
"""A bar is asked for so long after its end: its last ticks reach the provider's bars a little later
than they happen, and a bar that lacks them would stand in the table as if it were whole."""
PUBLISHED_BY: Final = timedelta(hours=6)
"""By when an end-of-day plan has published a day: an empty one before that may still come."""


def days_per_call(kind: AssetKind) -> int:
    """How many days one call can bring, whatever weekday it begins on."""
    return 34 if kind is AssetKind.CRYPTO else 46


def bars_of_day(kind: AssetKind, day: date) -> int:
    """How many five-minute bars a UTC day has, if each of them has a tick; 0: no session."""
    return int(sum((closes - opens) / BAR for opens, closes in sessions_on(kind, day)))


def next_bar_end(kind: AssetKind, after: datetime) -> datetime:
    """When the first bar that ends after that instant ends, with trading in it."""
    day = after.astimezone(UTC).date()
    midnight = datetime.combine(day, time.min, UTC)
    ends = midnight + ((after - midnight) // BAR + 1) * BAR
    while True:
        for opens, closes in sessions_on(kind, day):
            if max(ends, opens + BAR) <= closes:
                return max(ends, opens + BAR)
        day += timedelta(days=1)


def days_between(first: date, last: date) -> Iterator[date]:
    """The days from `first` to `last`, both inclusive."""
    for n in range((last - first).days + 1):
        yield first + timedelta(days=n)
