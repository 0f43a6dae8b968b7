"""How old a price was over a span of time, while its market was open."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise


@dataclass(frozen=True)
class Staleness:
    """Ages in seconds, weighted by time: half of the time the price was younger than the median."""

    median_s: float
    p95_s: float
    fetches: int


def staleness(
    fetched: Sequence[datetime],
    sessions: Sequence[tuple[datetime, datetime]],
) -> Staleness | None:
    """Return how old the price was within the sessions; None: nothing was fetched before them.

    `fetched` is in order. An age counts from the last fetch or, if that is later, from the opening:
    before it there was nothing newer to be had.
    """
    gaps: list[float] = []
    for opens, closes in sessions:
        first = bisect_left(fetched, opens)
        within = [at for at in fetched[first:] if at < closes]
        known = [opens] if first else []
        ends = [*known, *within, closes]
        gaps += [(later - at).total_seconds() for at, later in pairwise(ends)]
    gaps = sorted(gap for gap in gaps if gap > 0)
    if not fetched or not gaps:
        return None
    return Staleness(_age_at(gaps, 0.5), _age_at(gaps, 0.95), len(fetched))


def _age_at(gaps: Sequence[float], share: float) -> float:
    """The age below which the price was for that share of the time. Within a gap every age from 0
    to its length comes once, so the time below x is the sum of min(gap, x): piecewise linear."""
    wanted = share * sum(gaps)
    below, left, age = 0.0, len(gaps), 0.0
    for gap in gaps:
        step = (gap - age) * left
        if below + step >= wanted:
            return age + (wanted - below) / left
        below, left, age = below + step, left - 1, gap
    return age
