"""Looks at everything that the rules judge, within bounded time, and changes nothing."""

import re
import threading
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from redis import ConnectionError as RedisConnectionError
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq.registry import FailedJobRegistry
from rq.suspension import WORKERS_SUSPENDED

from health.batches import SettledBatch, recent_batches
from health.beginnings import Beginnings
from health.causes import Cause
from health.database import DatabaseProbe
from health.facts import Facts, Failing, State
from health.metrics import HOUR_MS, measure
from health.texts import utc
from market.hours import is_open
from queueing import PriorityQueue
from queueing.foreign import figure, figures, json_object
from runtime.context import Context
from runtime.heartbeat import ended, processes, unlogged
from runtime.redis_client import open_redis
from runtime.redis_outage import diagnose, refusal_of_writes
from scheduler.entries import schedule
from settings import Settings
from worker.capabilities import Capabilities
from worker.rq_classes import TickJob
from worker.ticks import rq_queue

REDIS_TIMEOUT_S = 1.5
CLOCK_SLACK_MS = 5_000
"""A time further ahead of Redis' clock is no time at all: it was written before the clock stepped
back, or by an external writer."""
_LOOK_AHEAD = 100
"""So far a claim looks behind items of a newer version."""
_DELAYED, _AT_ONCE = 5_000, 500
"""The most delayed items that are looked at, and those of one command; a plan with bars has a few
hundred that pause without having failed."""
_TICKS = 200
"""The most failed ticks that are counted."""
_FOREX = "C:EURUSD"
_ROLES = ("worker", "scheduler", "batch", "secondary")
"""Also the causes whose own beginning may be no older than this process: see `last_seen_ms`."""


def connect_redis(settings: Settings) -> Redis:
    """Make a client that waits briefly, and does not ask again by itself."""
    return open_redis(
        settings.redis_url,
        decode_responses=True,
        socket_timeout=REDIS_TIMEOUT_S,
        socket_connect_timeout=REDIS_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )


class Observer:
    """Looks at the system. A web process has one, which its threads share."""

    def __init__(self, settings: Settings, *, redis: Redis | None = None) -> None:
        self.settings = settings
        self.context = Context.on(redis or connect_redis(settings), settings)
        self._database = DatabaseProbe(settings.database_url)
        self._capabilities = Capabilities(self.context)
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._last_seen_ms: dict[str, int] = {}
        self._beginnings = Beginnings(self.context.redis, self.context.keys)

    def look(self) -> Facts:
        """Look at Redis and PostgreSQL at the same time. An outage is a fact, not an error."""
        self._database.begin()
        state, outage, now_ms = None, None, int(time.time() * 1000)
        up_ms = int((time.monotonic() - self._began) * 1000)
        try:
            state = self._state(up_ms)
            now_ms = state.quota.now_ms
        except RedisError as error:
            if (outage := diagnose(error)) is None:
                raise
        return Facts(
            now_ms=now_ms,
            started_ms=now_ms - up_ms,
            interval_ms=self.settings.batch_interval_minutes * 60_000,
            secondary_interval_ms=self.settings.secondary_interval_minutes * 60_000,
            batches_wanted=self.settings.priority_assets_enabled,
            redis=outage,
            database=self._database.problem(),
            state=state,
        )

    def since(self, found: Iterable[Cause], facts: Facts) -> dict[str, int]:
        """Return since when each cause holds, or has been seen without a break by any process."""
        causes = list(found)
        readable = facts.state is not None
        seen = self._beginnings.of([c.key for c in causes], facts.now_ms, readable=readable)
        own = {c.key: c.since_ms for c in causes if c.since_ms is not None}
        return {
            key: min(own.get(key, ms), ms) if key in _ROLES else own.get(key, ms)
            for key, ms in seen.items()
        }

    def _state(self, up_ms: int) -> State:
        try:
            return self._read(up_ms)
        except RedisConnectionError:
            # Perhaps only the connection was stale, after a restart of Redis.
            self.context.redis.connection_pool.disconnect()
            return self._read(up_ms)

    def _read(self, up_ms: int) -> State:
        context = self.context
        quota = context.limiter.status()
        now_ms, stats = quota.now_ms, context.queue.stats()
        batches = _past(recent_batches(context.queue), now_ms)
        alive = processes(context.redis, context.keys)
        more = self._details(now_ms)
        seen_ms = {p.role: now_ms - p.age_ms for p in reversed(alive)}
        for role, ago_ms in ended(context.redis, context.keys).items():
            seen_ms[role] = max(now_ms - ago_ms, seen_ms.get(role, 0))
        if batches:
            seen_ms["batch"] = now_ms
        interval_ms = self.settings.batch_interval_minutes * 60_000
        return State(
            stats=stats,
            places=context.queue.max_size,
            quota=quota,
            batches=batches,
            metrics=measure(batches, stats, quota, interval_ms=interval_ms),
            jobs=schedule(context),
            dead=context.queue.dead() if stats.dead else [],
            processes=alive,
            last_seen_ms=self._remember(seen_ms, now_ms, up_ms),
            histograms=context.queue.histograms(),
            writes=refusal_of_writes(context.redis, context.keys.queue),
            unlogged=unlogged(context.redis, context.keys),
            newer=any(stats.queued.values()) and self._only_newer(),
            unpublished=self._unpublished(now_ms),
            closed_markets=() if is_open(_FOREX, utc(now_ms)) else ("forex",),
            blocked_since_ms=_began_ms(quota.blocked_until_ms, more.pop("blocked_ms")),
            **more,
        )

    def _details(self, now_ms: int) -> dict[str, Any]:
        """Read the small things in one round trip, then the items that are delayed."""
        keys = self.context.keys
        failed = FailedJobRegistry(rq_queue(keys), connection=self.context.redis).key
        hour_ago_s = now_ms // 1000 + TickJob.FAILURE_TTL_S - HOUR_MS // 1000
        pipe = self.context.redis.pipeline(transaction=False)
        pipe.hget(keys.quota, "blocked_ms")
        pipe.get(keys.outage)
        pipe.hgetall(keys.counters)
        pipe.exists(WORKERS_SUSPENDED)
        pipe.get(keys.secondary)
        pipe.zrangebyscore(failed, hour_ago_s, "+inf", 0, _TICKS)
        pipe.zrange(keys.delayed, 0, _DELAYED - 1)
        blocked_ms, outage, counters, suspended, secondary, ticks, delayed = pipe.execute()
        return {
            "blocked_ms": blocked_ms,
            "outage": outage and _PLACE.sub("PostgreSQL", outage).rstrip("."),
            "counters": figures(counters),
            "suspended": bool(suspended),
            "secondary_ms": _known_ms(secondary, now_ms),
            "failed_ticks": Counter(job_id.partition("-")[0] for job_id in ticks),
            "failing": self._failing(delayed),
        }

    def _only_newer(self) -> bool:
        """True if a claim by this version would find nothing for it; ordinarily one item tells."""
        known = PriorityQueue.item_version
        if any(item.version <= known for item in self.context.queue.peek()):
            return False
        return all(item.version > known for item in self.context.queue.peek(_LOOK_AHEAD))

    def _failing(self, symbols: Sequence[str]) -> list[Failing]:
        """Read those of these items that failed."""
        pipe = self.context.redis.pipeline(transaction=False)
        for start in range(0, len(symbols), _AT_ONCE):
            pipe.hmget(self.context.keys.items, symbols[start : start + _AT_ONCE])
        texts = [text for part in pipe.execute() for text in part]
        pairs = ((symbol, _item(text)) for symbol, text in zip(symbols, texts, strict=True))
        return [
            Failing(symbol, int(item["attempts"]), str(item.get("last_error", "no reason given")))
            for symbol, item in pairs
            if item.get("attempts")
        ]

    def _unpublished(self, now_ms: int) -> dict[str, int]:
        self._capabilities.refused()
        found = self._capabilities.unpublished()
        return {market: until_ms for market, until_ms in found.items() if until_ms > now_ms}

    def _remember(self, seen_ms: Mapping[str, int], now_ms: int, up_ms: int) -> dict[str, int]:
        """Heartbeats vanish when a process ends in order, and all of them after a flush."""
        with self._lock:
            for role in _ROLES:
                first = seen_ms.get(role, now_ms - up_ms)
                known = self._last_seen_ms.get(role, first)
                self._last_seen_ms[role] = min(now_ms, max(known, seen_ms.get(role, 0)))
            return dict(self._last_seen_ms)


_PLACE = re.compile(r"PostgreSQL: PostgreSQL(?: at .*?, database .*?, user \S+)?")


def _past(batches: Sequence[SettledBatch], now_ms: int) -> list[SettledBatch]:
    """Leave out the batches of a time that has not come."""
    latest_ms = now_ms + CLOCK_SLACK_MS
    return [b for b in batches if max(b.record.started_at_ms, b.record.planned_at_ms) <= latest_ms]


def _began_ms(until_ms: int, length_ms: str | None) -> int | None:
    length = figure(length_ms)
    return until_ms - length if length else None


def _known_ms(seconds: str | None, now_ms: int) -> int | None:
    """Read a slot; None for one that is missing, malformed or of the future."""
    at_s = figure(seconds)
    return at_s * 1000 if at_s is not None and at_s * 1000 <= now_ms + CLOCK_SLACK_MS else None


def _item(text: str | None) -> dict[str, Any]:
    """Read an item; empty for one that has just gone or that an external writer damaged."""
    raw = json_object(text)
    return raw if isinstance(raw.get("attempts"), int) else {}
