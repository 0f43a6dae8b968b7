"""A client that does not decode answers is told the same as one that does."""

from __future__ import annotations

from typing import Any

import fakeredis
from redis import Redis

from tests.kit.queueing import CRITICAL, LOW, Kit, limited


def story(redis: Redis) -> list[Any]:
    """What every reading method says in the course of some calls."""
    kit = Kit(redis, limited()).known()
    told: list[Any] = [kit.put("A", "B", at=LOW), kit.put("C", at=CRITICAL)]
    told += [[(item.symbol, item.score) for item in kit.queue.peek(3)], kit.queue.pending()]
    told += [[item.symbol for item in kit.take().items], kit.take_symbols(1), kit.refused()]
    told += [kit.queue.stats(), kit.limiter.available(), kit.queue.dead(), kit.queue.size]
    kit.now_ms += 600_000
    told += [kit.queue.reap(), kit.queue.pending(), kit.queue.cancel(["A"]), kit.queue.next_at()]
    kit.assert_no_leak()
    return told


def test_a_client_may_decode_or_not() -> None:
    text, raw = (
        fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=decode)
        for decode in (True, False)
    )
    assert story(text) == story(raw)
