"""A queue under a small quota and a clock that stands still, on fakeredis and on a real server."""

from __future__ import annotations

import fakeredis
import pytest
from redis import Redis

from queueing import Policy, PriorityQueue, QuotaLimiter

NOON_MS = 1_800_000_000_000


@pytest.fixture(params=["fake", pytest.param("real", marks=pytest.mark.server)])
def redis(request: pytest.FixtureRequest) -> Redis:
    """An empty Redis."""
    if request.param == "real":
        real: Redis = request.getfixturevalue("r")
        return real
    return fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=True)


@pytest.fixture
def queue(redis: Redis) -> PriorityQueue:
    """Two calls per second. `queue.now_ms` is the clock: only a test moves it."""
    policy = Policy(
        limit=2, window_ms=1_000, send_ms=100, guard_ms=10, tolerance_ms=0, aging_ms=60_000
    )
    queue = PriorityQueue(redis, policy, lease_ms=30_000, now_ms=NOON_MS)
    QuotaLimiter(redis, policy, now_ms=NOON_MS).reset()  # no call was made lately
    return queue
