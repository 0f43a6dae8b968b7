"""What `assetq up` and `assetq watch` show, as data: read from Redis, nothing is changed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import requests

from queueing import Priority, QuotaStatus
from runtime.context import Context

_AT_ONCE = 500
_BATCHES = 5


@dataclass(frozen=True)
class Refresh:
    """One refreshed asset, as its event tells."""

    symbol: str
    price: Decimal
    as_of: datetime
    source: str
    delay: str
    priority: int
    waited_s: float
    at: datetime
    """When the call for it was granted, by Redis' clock."""

    @property
    def age_s(self) -> float:
        """How old the price was when it came."""
        return max(0.0, (self.at - self.as_of).total_seconds())


@dataclass(frozen=True)
class Status:
    """One look at queue and quota."""

    at: datetime
    by_priority: Mapping[Priority, int]
    delayed: int
    leased: int
    dead: int
    calls_left: int | None
    """None: the plan has no limit."""
    limit: int | None
    next_symbol: str | None
    why: str | None
    """What the next asset waits for; None: nothing waits."""
    wait_s: float | None
    next_batch_at: datetime

    @property
    def waiting(self) -> int:
        return sum(self.by_priority.values()) + self.delayed


class Watcher:
    """Reads the stream of updates and the state of queue and quota.

    Every method may raise redis.RedisError while Redis is away; ask again later."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._interval_ms = context.settings.batch_interval_minutes * 60_000
        self._since_ms = context.redis_now_ms() - self._interval_ms
        newest: Any = context.redis.xrevrange(context.keys.updates, count=1)
        self._last_id = newest[0][0] if newest else "0-0"

    def updates(self) -> list[Refresh]:
        """Refreshes since the last call, oldest first; does not wait."""
        rows: Any = self._context.redis.xrange(
            self._context.keys.updates, min=f"({self._last_id}", count=_AT_ONCE
        )
        self._last_id = rows[-1][0] if rows else self._last_id
        return [self._refresh(json.loads(row["event"], parse_float=Decimal)) for _, row in rows]

    def status(self) -> Status:
        """Queue and quota as they stand."""
        stats = self._context.queue.stats()
        quota = self._context.limiter.status()
        head = self._context.queue.peek(1)
        return Status(
            at=_instant(quota.now_ms),
            by_priority=stats.queued,
            delayed=stats.delayed,
            leased=stats.leased,
            dead=stats.dead,
            calls_left=quota.free,
            limit=quota.limit,
            next_symbol=head[0].symbol if head else None,
            why=stats.hint.reason,
            wait_s=None if stats.hint.wait_ms is None else stats.hint.wait_ms / 1000,
            next_batch_at=_instant(_next_batch_ms(quota, self._interval_ms)),
        )

    def vouched(self) -> set[str]:
        """Assets that a batch found or made fresh since one interval before this watch began."""
        batches = self._context.queue.batches(_BATCHES)
        recent = (batch for batch in batches if batch.started_at_ms >= self._since_ms)
        return {symbol for batch in recent for symbol in batch.updated}

    def _refresh(self, event: Mapping[str, Any]) -> Refresh:
        return Refresh(
            symbol=event["symbol"],
            price=Decimal(event["last_price"]),
            as_of=datetime.fromisoformat(event["timestamp"]),
            source=event["source"],
            delay=event["delay"],
            priority=event["priority"],
            waited_s=event["waited_ms"] / 1000,
            at=_instant(event["observed_at_ms"]),
        )


def _next_batch_ms(quota: QuotaStatus, interval_ms: int) -> int:
    """The batch that calls are kept for, else the next slot."""
    if quota.batch_at_ms > quota.now_ms:
        return quota.batch_at_ms
    return quota.now_ms - quota.now_ms % interval_ms + interval_ms


def _instant(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


class SandboxView:
    """What the sandbox at `url` tells of itself."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy knows nothing of our loopback

    def summary(self) -> dict[str, Any]:
        """What its socket has counted since it started, `worst_window` being the most in one."""
        answer = self._session.get(f"{self._url}/_sandbox/summary", timeout=10)
        answer.raise_for_status()
        return dict(answer.json())
