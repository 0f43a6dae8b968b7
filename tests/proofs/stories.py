"""What may happen to a worker, its provider and the calendar within some days."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from tests.proofs.days import Days
from tests.proofs.vendor import Hole

MINUTE: Final = timedelta(minutes=1)
HOUR: Final = timedelta(hours=1)
DAY: Final = timedelta(days=1)
_OLD_PRICES: Final = """
    SELECT symbol, as_of FROM trading.latest_prices
    WHERE market_open AND coalesce(age, 'infinity') > interval '15 minutes'"""


@dataclass(frozen=True)
class Story:
    """`live` lets it happen and returns the newest day that must be whole then."""

    begins: datetime
    live: Callable[[Days], date]
    plan: str = "free"
    counted_to: date | None = None
    """The last day that keeps within the calls of a free day; None: all but the first do."""


def at(text: str) -> datetime:
    """An instant of UTC, `2026-11-03 10:02`."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def outage(days: Days) -> date:
    """Nothing runs for three days."""
    days.run_until(at("2026-11-03 12:00"))
    days.move_to(at("2026-11-06 12:00"))
    days.restart()
    days.run_until(at("2026-11-07 12:00"))
    return date(2026, 11, 6)


def restarts(days: Days) -> date:
    """Everything is started anew at 00:06, five nights running."""
    for night in range(5):
        days.run_until(at("2026-11-03 00:06") + night * DAY)
        days.restart()
    days.run_until(at("2026-11-07 12:00"))
    return date(2026, 11, 6)


def nights(days: Days) -> date:
    """On a live plan, which has bars of the running day, it runs from 00:06 to 00:30 only."""
    for night in range(6):
        days.move_to(days.began + night * DAY)
        days.restart()
        days.run_until(days.began + night * DAY + 24 * MINUTE)
    return date(2026, 11, 7)


def first_day(days: Days) -> date:
    """The first start of a live plan, in the middle of a day."""
    days.run_until(at("2026-11-04 00:30"))
    return date(2026, 11, 3)


def holiday(days: Days) -> date:
    """A Wednesday on which no forex trades, until nothing is looked at any more."""
    days.vendor.holidays.add(("fx", date(2026, 11, 4)))
    days.run_until(at("2026-11-09 12:00"))
    return date(2026, 11, 8)


def repair(days: Days) -> date:
    """Six hours of two assets come two days later."""
    for ticker in ("C:EURUSD", "X:BTCUSD"):
        begins, ends = at("2026-11-03 08:00"), at("2026-11-03 14:00")
        days.vendor.holes.append(Hole(ticker, begins, ends, mended=at("2026-11-05 18:00")))
    days.run_until(at("2026-11-09 12:00"))
    return date(2026, 11, 8)


def half_published(days: Days) -> date:
    """At 05:00 a day is published, but its answers end at 05:00 of it until four hours later."""
    for asset in days.judge.assets:
        begins, ends = at("2026-11-03 05:00"), at("2026-11-04 00:00")
        mended = at("2026-11-04 09:00")
        days.vendor.holes.append(Hole(asset.polygon_ticker, begins, ends, mended))
    days.run_until(at("2026-11-07 12:00"))
    return date(2026, 11, 6)


def autumn(days: Days) -> date:
    """New York's clock goes back on a Sunday: its day has 25 hours, and publication moves."""
    days.run_until(at("2026-11-04 12:00"))
    return date(2026, 11, 3)


def spring(days: Days) -> date:
    """New York's clock goes forward on a Sunday."""
    days.run_until(at("2026-03-11 12:00"))
    return date(2026, 3, 10)


def upgrade(days: Days) -> date:
    """The same key is moved from free to a live plan."""
    days.run_until(at("2026-11-03 12:00"))
    days.change_plan("starter")
    days.run_until(at("2026-11-03 12:11"))
    days.judge.wrong += [
        f"{symbol} is of {as_of}" for symbol, as_of in days.judge.rows(_OLD_PRICES)
    ]
    days.run_until(at("2026-11-04 01:00"))
    return date(2026, 11, 3)


_MONDAY: Final = at("2026-11-02 10:02")
STORIES: Final[dict[str, Story]] = {
    "outage": Story(_MONDAY, outage),
    "restarts": Story(_MONDAY, restarts),
    "nights": Story(at("2026-11-03 00:06"), nights, plan="starter"),
    "first-day": Story(at("2026-11-03 10:02"), first_day, plan="starter"),
    "holiday": Story(_MONDAY, holiday),
    "repair": Story(_MONDAY, repair),
    "half-published": Story(_MONDAY, half_published),
    "autumn": Story(at("2026-10-30 10:02"), autumn),
    "spring": Story(at("2026-03-06 10:02"), spring),
    "upgrade": Story(_MONDAY, upgrade, counted_to=date(2026, 11, 2)),
}
