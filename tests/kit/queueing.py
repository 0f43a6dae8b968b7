"""What the tests of queueing/ share: a queue under a frozen clock, and the check for leaked keys.

The contract tests live in tests/unit and take their connection from the fixture `connection`, which
is fakeredis there; tests/integration collects the same tests again with a real server behind it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from redis import Redis

from queueing import (
    Claimed,
    Hint,
    Item,
    Keys,
    NotNow,
    Outcome,
    Policy,
    Priority,
    PriorityQueue,
    QuotaLimiter,
    Request,
)

NOW_MS = 1_763_923_456_789
CRITICAL, HIGH, MEDIUM, LOW, BARS, BACKFILL = Priority
FREE = Policy(limit=None)
"""No quota: for tests of everything else."""


class Kit:
    """One queue and its limiter on one connection; `kit.now_ms` is the only clock."""

    def __init__(self, redis: Redis, policy: Policy = FREE, **options: Any) -> None:
        self.redis = redis
        self.queue = PriorityQueue(redis, policy, now_ms=NOW_MS, **options)
        self.limiter = QuotaLimiter(redis, policy, keys=self.queue.keys, now_ms=NOW_MS)

    @property
    def keys(self) -> Keys:
        return self.queue.keys

    @property
    def policy(self) -> Policy:
        return self.queue.policy

    @policy.setter
    def policy(self, policy: Policy) -> None:
        self.queue.policy = self.limiter.policy = policy

    @property
    def now_ms(self) -> int:
        assert self.queue.now_ms is not None
        return self.queue.now_ms

    @now_ms.setter
    def now_ms(self, now_ms: int) -> None:
        self.queue.now_ms = self.limiter.now_ms = now_ms

    def known(self) -> Kit:
        """The server's epoch is known: there were no calls lately."""
        self.limiter.reset()
        return self

    def put(self, *symbols: str, at: int = MEDIUM, **options: Any) -> list[str]:
        """Enqueues in one call; what became of each, in order."""
        reply = self.queue.enqueue([Request(s) for s in symbols], at, **options)
        assert [row[0] for row in reply.results] == list(symbols)
        return [row[1].value for row in reply.results]

    def take(self, **options: Any) -> Claimed:
        claimed = self.queue.claim(**options)
        assert isinstance(claimed, Claimed), claimed
        return claimed

    def take_symbols(self, count: int) -> list[str]:
        """Claims that many, one call each, without ending any."""
        return [self.take().items[0].symbol for _ in range(count)]

    def refused(self, **options: Any) -> Hint:
        answer = self.queue.claim(**options)
        assert isinstance(answer, NotNow), answer
        return answer.hint

    def item(self, symbol: str) -> dict[str, Any]:
        """The item's JSON as it lies in Redis."""
        raw = self.redis.hget(self.keys.items, symbol)
        assert raw is not None, f"{symbol} has no item"
        return dict(json.loads(raw))

    def score(self, symbol: str) -> float | None:
        return self.redis.zscore(self.keys.queue, symbol)

    def where(self, symbol: str) -> set[str]:
        """In which of the structures the symbol is."""
        found = {
            name
            for name in ("queue", "delayed", "leases", "dead")
            if self.redis.zscore(getattr(self.keys, name), symbol) is not None
        }
        for name in ("items", "dead_items"):
            if self.redis.hexists(getattr(self.keys, name), symbol):
                found.add(name)
        if self.redis.sismember(self.keys.pending, symbol):
            found.add("pending")
        return found

    def counter(self, name: str) -> int:
        return int(self.redis.hget(self.keys.counters, name) or 0)

    def permits(self) -> list[int]:
        """Until when each permit of the window counts, from now."""
        rows: Any = self.redis.zrange(self.keys.window, 0, -1, withscores=True)
        return [int(at) - self.now_ms for _, at in rows]

    def dump(self) -> dict[str, Any]:
        """Everything there is, key by key, but the time of the last look. Not by DUMP, whose order
        of a hash may change."""
        redis = self.redis
        read: dict[str, Callable[[Any], Any]] = {
            "string": redis.get,
            "hash": redis.hgetall,
            "set": redis.smembers,
            "list": lambda key: redis.lrange(key, 0, -1),
            "zset": lambda key: redis.zrange(key, 0, -1, withscores=True),
            "stream": redis.xrange,
        }
        found = {_text(key): read[_text(redis.type(key))](key) for key in redis.scan_iter("*")}
        quota = {_text(name): value for name, value in found.get(self.keys.quota, {}).items()}
        found[self.keys.quota] = {k: v for k, v in quota.items() if not k.startswith("clock_")}
        return {key: value for key, value in found.items() if value}

    def assert_no_leak(self) -> None:
        """Every key is permanent by intent or has a TTL."""
        for key in self.redis.scan_iter("assetq:*"):
            if _text(key) not in self.keys.permanent:
                assert self.redis.pttl(key) > 0, f"{_text(key)} would stay for ever"


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def limited(**rules: Any) -> Policy:
    """A small quota in round numbers: 2 calls in 1,000 ms, sent within 100, guard 10."""
    small = Policy(
        limit=2,
        window_ms=1_000,
        send_ms=100,
        guard_ms=10,
        tolerance_ms=0,
        grace_ms=200,
        aging_ms=0,
        background_share=0,
    )
    return replace(small, **rules)


__all__ = [
    "CRITICAL",
    "FREE",
    "HIGH",
    "LOW",
    "MEDIUM",
    "NOW_MS",
    "Claimed",
    "Hint",
    "Item",
    "Kit",
    "NotNow",
    "Outcome",
    "Request",
    "limited",
]
