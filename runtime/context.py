"""What a process works with: settings, Redis, the queue and the quota of one provider."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from pydantic import SecretStr
from redis import Redis

from queueing import Keys, Policy, PriorityQueue, QuotaLimiter
from queueing.foreign import figure
from runtime.redis_client import open_redis
from settings import Settings

SOCKET_TIMEOUT_S = 12.0
"""Longer than RQ's blocking pops (the wait of a drain has its own limit), and short enough that a
process can end in time while Redis is frozen."""
PLACES_PER_ASSET = 3
"""Room in the queue for each asset unless QUEUE_MAX_SIZE is set: a price, a series, and slack."""
_DAY_MS = 24 * 3600 * 1000


@dataclass(frozen=True)
class Context:
    """Everything that one process shares; its entry point builds it once and passes it down."""

    settings: Settings
    redis: Redis
    keys: Keys
    queue: PriorityQueue
    limiter: QuotaLimiter

    @classmethod
    @contextmanager
    def open(cls, settings: Settings) -> Iterator[Self]:
        """Open Redis, and close it at the end: a work-horse leaves without cleaning up."""
        redis = connect_redis(settings)
        try:
            yield cls.on(redis, settings)
        finally:
            redis.close()

    @classmethod
    def on(cls, redis: Redis, settings: Settings) -> Self:
        """Build the same on a connection that the caller owns."""
        keys = Keys(settings.provider)
        policy = policy_of(settings)

        def places() -> int:
            counted = figure(redis.get(keys.assets)) or 0
            return max(settings.queue_max_size, PLACES_PER_ASSET * counted)

        bound = settings.queue_max_size if settings.queue_is_bounded else places
        queue = PriorityQueue(redis, policy, keys=keys, max_size=bound, lease_ms=settings.lease_ms)
        return cls(settings, redis, keys, queue, QuotaLimiter(redis, policy, keys=keys))

    def note_assets(self, count: int) -> None:
        """Remember how many assets are tracked: unless QUEUE_MAX_SIZE is set, the queue has room
        for each of them, in every process."""
        self.redis.set(self.keys.assets, count, px=_DAY_MS)

    def redis_now_ms(self) -> int:
        """Return the time of Redis' clock, which decides everywhere."""
        seconds, micros = self.redis.time()
        return int(seconds) * 1000 + int(micros) // 1000


def connect_redis(settings: Settings) -> Redis:
    """Make a client whose time-outs let a drain wait in place."""
    return open_redis(
        settings.redis_url,
        decode_responses=True,
        socket_timeout=SOCKET_TIMEOUT_S,
        socket_connect_timeout=5.0,
        socket_keepalive=True,
    )


def policy_of(settings: Settings) -> Policy:
    """Return the rules of the quota as the settings give them."""
    return Policy(
        limit=settings.rate_limit,
        window_ms=settings.window_ms,
        send_ms=settings.send_budget_ms,
        guard_ms=settings.guard_ms,
        spacing_ms=settings.spacing_ms,
        tolerance_ms=int(settings.batch_start_tolerance_seconds * 1000),
        aging_ms=int(settings.aging_seconds * 1000),
    )


def fingerprint(key: SecretStr | None) -> str:
    """Identify an API key without revealing it."""
    if key is None:
        return "none"
    return hashlib.sha256(key.get_secret_value().encode()).hexdigest()[:10]
