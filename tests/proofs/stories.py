"""What may happen to a worker, its provider and the calendar within some days."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final

from tests.proofs.days import Days

MINUTE: Final = timedelta(minutes=1)
HOUR: Final = timedelta(hours=1)


@dataclass(frozen=True)
class Story:
    """`live` lets it happen and returns the newest day that must be whole then."""

    begins: datetime
    live: Callable[[Days], date]
    plan: str = "free"
    counts_calls: bool = True
    """Every day but the first keeps within the calls of a free day."""


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


STORIES: Final[dict[str, Story]] = {
    "outage": Story(at("2026-11-02 10:02"), outage, counts_calls=False),
}
