"""What `assetq up` and `assetq watch` show, as data: read from Redis, nothing is changed."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

import requests

from health.report import remaining
from health.texts import one_line, utc
from health.waits import Listed, delayed
from queueing import DeadLetter, Priority, QuotaStatus, Stats
from runtime.context import Context
from worker.work import is_bars

_AT_ONCE = 500
_BATCHES = 5
_PENDING = 2_000
"""The most delayed items that are looked at."""
_LETTERS = 20
_SLOWLY_S = 2.0
"""The time between two looks at single items."""
_PRICES = [band for band in Priority if band < Priority.BARS]
_BARS = [band for band in Priority if band >= Priority.BARS]


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
class Failure:
    """An item that failed and waits for its next attempt, or was given up."""

    symbol: str
    attempts: int
    reason: str
    again_at: datetime | None
    """None: it was given up."""
    given_up_at: datetime | None = None


@dataclass(frozen=True)
class Counts:
    """How many items of one kind are in each state."""

    queued: Mapping[Priority, int]
    delayed: int = 0
    leased: int = 0
    dead: int = 0


@dataclass(frozen=True)
class Status:
    """One look at queue and quota."""

    at: datetime
    prices: Counts
    """Items that bring prices: one for an asset."""
    bars: Counts
    """Items that bring 5-minute bars."""
    calls_left: int | None
    """None: the plan has no limit."""
    limit: int | None
    next_symbol: str | None
    why: str | None
    """What the next item waits for; None: nothing waits."""
    wait_s: float | None
    next_call_at: datetime
    """When the next call that is not critical may go."""
    next_batch_at: datetime
    failures: tuple[Failure, ...] = ()
    """Those that failed last in front."""

    @property
    def held(self) -> int:
        """How many items wait for a time of their own or are in work."""
        return sum(kind.delayed + kind.leased for kind in (self.prices, self.bars))


class Watcher:
    """Reads the stream of updates and the state of queue and quota.

    Every method may raise redis.RedisError while Redis is away; ask again later."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._interval_ms = context.settings.batch_interval_minutes * 60_000
        self._since_ms = context.redis_now_ms() - self._interval_ms
        newest: Any = context.redis.xrevrange(context.keys.updates, count=1)
        self._last_id = newest[0][0] if newest else "0-0"
        self._looked_s = float("-inf")
        self._failures: tuple[Failure, ...] = ()

    def earlier(self, count: int) -> list[Refresh]:
        """The last refreshes before this watch began, oldest first."""
        if self._last_id == "0-0":
            return []
        rows: Any = self._context.redis.xrevrange(
            self._context.keys.updates, max=self._last_id, count=count
        )
        return _refreshes(reversed(rows))

    def updates(self) -> list[Refresh]:
        """Refreshes since the last call, oldest first; does not wait."""
        rows: Any = self._context.redis.xrange(
            self._context.keys.updates, min=f"({self._last_id}", count=_AT_ONCE
        )
        self._last_id = rows[-1][0] if rows else self._last_id
        return _refreshes(rows)

    def status(self) -> Status:
        """Queue and quota as they stand, and failures as they stood within two seconds."""
        stats = self._context.queue.stats()
        quota = self._context.limiter.status()
        head = self._context.queue.peek(1)
        prices, bars = self._counts(stats)
        return Status(
            at=utc(quota.now_ms),
            prices=prices,
            bars=bars,
            calls_left=remaining(quota),
            limit=quota.limit,
            next_symbol=head[0].symbol if head else None,
            why=stats.hint.reason,
            wait_s=None if stats.hint.wait_ms is None else stats.hint.wait_ms / 1000,
            next_call_at=utc(max(quota.now_ms, quota.background[0])),
            next_batch_at=utc(_next_batch_ms(quota, self._interval_ms)),
            failures=self._known_failures(),
        )

    def vouched(self) -> set[str]:
        """Assets that a batch found or made fresh since one interval before this watch began."""
        batches = self._context.queue.batches(_BATCHES)
        recent = (batch for batch in batches if batch.started_at_ms >= self._since_ms)
        return {symbol for batch in recent for symbol in batch.updated}

    def _counts(self, stats: Stats) -> tuple[Counts, Counts]:
        """The items that bring prices, and those that bring bars."""
        keys, pipe = self._context.keys, self._context.redis.pipeline(transaction=False)
        for key in (keys.delayed, keys.leases, keys.dead):
            pipe.zrange(key, 0, _PENDING)
        bars = [sum(map(is_bars, names)) for names in pipe.execute()]
        totals = (stats.delayed, stats.leased, stats.dead)
        prices = [max(0, total - count) for total, count in zip(totals, bars, strict=True)]
        return (
            Counts({band: stats.queued[band] for band in _PRICES}, *prices),
            Counts({band: stats.queued[band] for band in _BARS}, *bars),
        )

    def _known_failures(self) -> tuple[Failure, ...]:
        if time.monotonic() - self._looked_s >= _SLOWLY_S:
            queue = self._context.queue
            pausing = [one for one in delayed(queue, _PENDING) if one.item.attempts]
            letters = queue.dead()[-_LETTERS:]
            self._failures = (
                *map(_failing, sorted(pausing, key=lambda one: one.until_ms or 0, reverse=True)),
                *map(_given_up, reversed(letters)),
            )
            self._looked_s = time.monotonic()
        return self._failures


def _failing(one: Listed) -> Failure:
    reason = one_line(one.item.last_error or "no reason given")
    return Failure(one.item.symbol, one.item.attempts, reason, utc(one.until_ms or 0))


def _given_up(letter: DeadLetter) -> Failure:
    at, reason = utc(letter.died_at_ms), one_line(letter.reason)
    return Failure(letter.symbol, letter.attempts, reason, None, at)


def _refreshes(rows: Iterable[Any]) -> list[Refresh]:
    """The events of these rows of the stream, without those that an external writer damaged."""
    return [refresh for _, fields in rows if (refresh := _refresh(fields.get("event")))]


def _refresh(text: str | None) -> Refresh | None:
    try:
        event = json.loads(text or "null", parse_float=Decimal)
        return Refresh(
            symbol=one_line(event["symbol"]),
            price=Decimal(event["last_price"]),
            as_of=datetime.fromisoformat(event["timestamp"]),
            source=one_line(event["source"]),
            delay=one_line(event["delay"]),
            priority=int(event["priority"]),
            waited_s=event["waited_ms"] / 1000,
            at=utc(event["observed_at_ms"]),
        )
    except (ValueError, TypeError, KeyError, ArithmeticError, RecursionError):
        return None


def _next_batch_ms(quota: QuotaStatus, interval_ms: int) -> int:
    """The batch that calls are kept for, else the next slot."""
    if quota.batch_at_ms > quota.now_ms:
        return quota.batch_at_ms
    return quota.now_ms - quota.now_ms % interval_ms + interval_ms


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
