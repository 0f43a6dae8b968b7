"""Looks at everything that the rules judge, within bounded time, and changes nothing."""

import re
import threading
import time
from collections.abc import Iterable
from typing import Any

from redis import ConnectionError as RedisConnectionError
from redis import Redis, RedisError
from redis import TimeoutError as RedisTimeoutError
from redis.backoff import NoBackoff
from redis.retry import Retry

from health.batches import recent_batches
from health.database import DatabaseProbe
from health.metrics import measure
from health.rules import Cause, Facts, State
from runtime.context import Context
from runtime.heartbeat import processes
from runtime.redis_client import open_redis
from scheduler.entries import schedule
from settings import Settings

REDIS_TIMEOUT_S = 1.5
_PLACE = re.compile(r"^Error -?\d+ connecting to .*?:\d+\. ")


def connect_redis(settings: Settings) -> Redis:
    """A client that waits briefly, and does not ask again by itself."""
    return open_redis(
        settings.redis_url,
        decode_responses=True,
        socket_timeout=REDIS_TIMEOUT_S,
        socket_connect_timeout=REDIS_TIMEOUT_S,
        retry=Retry(NoBackoff(), 0),
    )


class Observer:
    """One per web process; its threads share it."""

    def __init__(self, settings: Settings, *, redis: Redis | None = None) -> None:
        self.settings = settings
        self.context = Context.on(redis or connect_redis(settings), settings)
        self._database = DatabaseProbe(settings.database_url)
        self._began = time.monotonic()
        self._lock = threading.Lock()
        self._last_seen_ms: dict[str, int] = {}
        self._first_seen_ms: dict[str, int] = {}

    def look(self) -> Facts:
        """Redis and PostgreSQL at the same time. Raises nothing that an outage causes."""
        self._database.begin()
        state, redis_problem, now_ms = None, None, int(time.time() * 1000)
        up_ms = int((time.monotonic() - self._began) * 1000)
        try:
            state = self._state(up_ms)
            now_ms = state.quota.now_ms
        except RedisError as error:
            redis_problem = why(error)
        return Facts(
            now_ms=now_ms,
            started_ms=now_ms - up_ms,
            interval_ms=self.settings.batch_interval_minutes * 60_000,
            batches_wanted=self.settings.priority_assets_enabled,
            redis=redis_problem,
            database=self._database.problem(),
            state=state,
        )

    def seen_since(self, causes: Iterable[Cause], now_ms: int) -> dict[str, int]:
        """Cause → since when this process has seen it without a break."""
        with self._lock:
            before = self._first_seen_ms
            self._first_seen_ms = {c.key: min(now_ms, before.get(c.key, now_ms)) for c in causes}
            return dict(self._first_seen_ms)

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
        stats = context.queue.stats()
        batches = recent_batches(context.queue)
        alive = processes(context.redis, context.keys)
        pipe = context.redis.pipeline(transaction=False)
        pipe.hget(context.keys.quota, "blocked_ms")
        pipe.get(context.keys.outage)
        pipe.hgetall(context.keys.counters)
        blocked_ms, outage, counters = pipe.execute()
        seen_ms = {process.role: 0 for process in alive}
        for process in alive:
            seen_ms[process.role] = max(seen_ms[process.role], quota.now_ms - process.age_ms)
        if batches:
            seen_ms["batch"] = quota.now_ms
        interval_ms = self.settings.batch_interval_minutes * 60_000
        return State(
            stats=stats,
            quota=quota,
            blocked_since_ms=quota.blocked_until_ms - int(blocked_ms) if blocked_ms else None,
            batches=batches,
            metrics=measure(batches, stats, quota, interval_ms=interval_ms),
            jobs=schedule(context),
            dead=context.queue.dead() if stats.dead else [],
            processes=alive,
            last_seen_ms=self._remember(seen_ms, quota.now_ms, up_ms),
            outage=outage,
            counters={name: int(value) for name, value in counters.items()},
        )

    def _remember(self, seen_ms: dict[str, int], now_ms: int, up_ms: int) -> dict[str, int]:
        """Books forget who left in order, and everything when they are emptied."""
        with self._lock:
            for role in ("worker", "scheduler", "batch"):
                known = self._last_seen_ms.get(role, now_ms - up_ms)
                self._last_seen_ms[role] = min(now_ms, max(known, seen_ms.get(role, 0)))
            return dict(self._last_seen_ms)


def why(error: RedisError) -> str:
    """The cause without the place: anybody may read it."""
    if isinstance(error, RedisTimeoutError):
        return f"no answer within {REDIS_TIMEOUT_S:g} s"
    text: Any = str(error).strip() or type(error).__name__
    return _PLACE.sub("", text.splitlines()[0]).rstrip(".")[:200]
