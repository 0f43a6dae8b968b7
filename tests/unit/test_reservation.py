"""Calls are kept free for the batch, whatever its size, the limit and the interval, and no more
than that: the real scripts through simulated hours."""

from __future__ import annotations

import fakeredis
import pytest

from local.sandbox import worst_window
from local.simulation import Result, Scenario, Simulation
from queueing import Policy, Priority, PriorityQueue, QuotaLimiter

TOLERANCE_MS = 5_000

pytestmark = pytest.mark.slow


def simulate(scenario: Scenario, limit: int) -> Result:
    redis = fakeredis.FakeRedis(decode_responses=True)
    policy = Policy(limit=limit, tolerance_ms=TOLERANCE_MS)
    queue = PriorityQueue(redis, policy, max_size=10_000)
    return Simulation(queue, QuotaLimiter(redis, policy), scenario).run()


CASES = [
    # critical, limit, batch minutes, a tick's lateness in ms, every n-th slot skipped
    (0, 5, 5, (0, 1000), 0),
    (1, 1, 5, (0, 1000), 0),
    (1, 2, 1, (0, 1000), 0),
    (2, 5, 1, (0, 4000), 0),
    (3, 5, 1, (0, 1000), 3),
    (3, 5, 5, (0, 4000), 0),
    (3, 5, 5, (0, 1000), 3),
    (4, 5, 2, (0, 0), 0),
    (5, 5, 3, (0, 2000), 0),
    (7, 5, 5, (0, 1000), 0),
    (7, 3, 7, (0, 1000), 0),
    (3, 20, 2, (0, 1000), 0),
    (7, 50, 1, (0, 1000), 0),
    (3, 2, 30, (0, 1000), 0),
    (3, 5, 60, (0, 1000), 0),
    (3, 5, 60, (0, 1000), 2),
    (3, 5, 5, (-2000, 500), 0),  # early ones too
    (2, 2, 1, (-1500, 1500), 0),
    (7, 20, 1, (-3000, 0), 4),
]


@pytest.mark.parametrize(("critical", "limit", "batch_minutes", "tick_ms", "skip_every"), CASES)
def test_batches_start_in_time_and_the_rest_is_used(
    critical: int, limit: int, batch_minutes: int, tick_ms: tuple[int, int], skip_every: int
) -> None:
    minutes = min(4 * batch_minutes + 1, 60 // limit + batch_minutes + 2)
    scenario = Scenario(
        assets=critical + 2 * limit + 5,
        critical=critical,
        hours=minutes / 60,
        batch_minutes=batch_minutes,
        endless=True,
        tick_ms=tick_ms,
        skip_every=skip_every,
    )
    result = simulate(scenario, limit)
    assert worst_window(result.arrivals_ms, 60_000) <= limit
    # A batch that asks for all there is leaves no room to make up for the time of an answer.
    if critical < limit * batch_minutes:
        assert all(start <= TOLERANCE_MS for start in result.critical_starts_ms)
    background = sum(
        band.refreshes
        for priority, band in result.bands.items()
        if priority is not Priority.CRITICAL
    )
    windows = minutes * 60 / 60.4
    per_slot = min(critical, limit * batch_minutes)
    left = (limit - per_slot / batch_minutes) * windows
    # Before each slot at most the batch's calls stand idle, for a horizon less the tolerance.
    kept = min(critical, limit) * (minutes / batch_minutes + 1)
    assert background >= left - kept - limit, (background, left, kept)
