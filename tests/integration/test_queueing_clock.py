"""A real server whose clock is set while calls are granted: never over the quota, never stuck."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from redis import Redis

from local.sandbox import worst_window
from queueing import Grant, Policy, PriorityQueue, QuotaLimiter, Request
from tests.chaos.clock import SettableValkey, why_not
from tests.kit.queueing import limited

pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))

HOUR_S, DAY_S = 3_600, 86_400
POLICY = limited(limit=2, window_ms=400, send_ms=50)


@pytest.fixture(scope="module")
def valkey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SettableValkey]:
    server = SettableValkey(tmp_path_factory.mktemp("settable"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def redis(valkey: SettableValkey) -> Iterator[Redis]:
    valkey.step(0)
    with Redis.from_url(valkey.url, decode_responses=True) as client:
        client.flushall()
        yield client


def test_the_quota_holds_and_is_used_whatever_is_set(valkey: SettableValkey, redis: Redis) -> None:
    limiter = QuotaLimiter(redis, POLICY)
    limiter.reset()
    began, arrived_ms, grants, lost_ms = time.monotonic(), list[int](), 0, 0.0
    for step_s in (0, HOUR_S, 0, 3 * DAY_S, HOUR_S, -HOUR_S, 5, 0):
        valkey.step(step_s)
        asked = time.monotonic()
        until = asked + 0.35
        while asked < until:
            granted = isinstance(limiter.acquire(), Grant)
            now = time.monotonic()
            took_ms = (now - asked) * 1000
            grants += granted
            if granted and took_ms <= POLICY.send_ms:  # a later one would not be sent
                arrived_ms.append(int((now - began) * 1000))
            lost_ms += took_ms if took_ms > 20 else 0  # the machine is busy
            asked = now
    assert worst_window(arrived_ms, POLICY.window_ms) <= 2, arrived_ms
    windows = (8 * 350 - lost_ms) / (POLICY.horizon_ms + 20)
    assert grants >= 2 * int(windows), arrived_ms


@pytest.mark.parametrize("step_s", [5, HOUR_S, 30 * DAY_S])
def test_no_lease_ends_early(valkey: SettableValkey, redis: Redis, step_s: int) -> None:
    queue = PriorityQueue(redis, Policy(limit=None))
    queue.enqueue([Request("A")])
    queue.claim()
    for ahead_s in (step_s, 0, 2 * step_s, 0):
        valkey.step(ahead_s)
        hint = queue.reap()
        assert hint.reason == "leased"
        assert 25_000 < (hint.wait_ms or 0) <= 30_000
