"""What the calls of a span of hours bought, what they left unused, and what that leads to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from db.hours import HourFigures
from queueing.timings import BOUNDS_MS

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)


@dataclass(frozen=True)
class Usage:
    """Sums over some hours; `observed` is the time that they speak for."""

    observed: timedelta
    prices: int
    bars: int
    history: int
    probes: int
    refused: int
    idle_s: float
    p50_s: float | None
    """How long prices waited for their call; None: none was refreshed."""
    p95_s: float | None
    causes: dict[str, float]
    """Cause of trouble → for how many seconds."""

    @property
    def calls(self) -> int:
        """All calls."""
        return self.prices + self.bars + self.history

    @classmethod
    def of(cls, hours: Sequence[HourFigures], now: datetime) -> Usage:
        """Sum up the hours."""
        waits: list[int] = []
        causes: Counter[str] = Counter()
        for one in hours:
            if len(one.waits) == len(BOUNDS_MS["wait"]) + 1:
                pairs = zip(waits or [0] * len(one.waits), one.waits, strict=True)
                waits = [a + b for a, b in pairs]
            causes.update(one.causes)
        return cls(
            min(now - hours[0].hour, DAY) if hours else timedelta(),
            sum(one.prices for one in hours),
            sum(one.bars for one in hours),
            sum(one.history for one in hours),
            sum(one.probes for one in hours),
            sum(one.refused for one in hours),
            sum(one.idle_ms for one in hours) / 1000,
            quantile_s(waits, 0.5),
            quantile_s(waits, 0.95),
            dict(causes),
        )


def quantile_s(counts: Sequence[int], share: float) -> float | None:
    """A quantile of waits, in seconds, from the number in each bucket; within one it is evenly
    spread, and in the last one, which has no bound, it is its lower bound."""
    wanted, below = share * sum(counts), 0
    lower_ms = 0.0
    for count, upper_ms in zip(counts, (*BOUNDS_MS["wait"], None), strict=False):
        if count and below + count >= wanted:
            if upper_ms is None:
                return lower_ms / 1000
            return (lower_ms + (upper_ms - lower_ms) * (wanted - below) / count) / 1000
        below += count
        lower_ms = float(upper_ms or lower_ms)
    return None


def capacity(limit: int | None, window_ms: int, span: timedelta) -> int | None:
    """How many calls the plan allows within a span; None: it counts none."""
    return None if limit is None else int(limit * span.total_seconds() * 1000 / window_ms)


def history_whole_at(
    lacking: int, usage: Usage, limit: int | None, window_ms: int, now: datetime
) -> datetime | None:
    """When the series are whole, if the calls that prices and new bars leave go to them as in the
    hours of `usage`; None: they leave none, or nothing is known."""
    allowed = capacity(limit, window_ms, usage.observed)
    if not lacking:
        return now
    if allowed is None or usage.observed < timedelta(minutes=5):
        return None
    spare = allowed - usage.prices - usage.bars
    return now + usage.observed * (lacking / spare) if spare > 0 else None
