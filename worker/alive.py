"""Our own heartbeat: RQ's books forget a living worker when Redis is flushed."""

from dataclasses import dataclass
from typing import Any

from redis import Redis

from queueing import Keys

_KEEP_MS = 3600 * 1000


def beat(redis: Redis, keys: Keys, name: str) -> None:
    """Says that this process lives."""
    seconds, micros = redis.time()
    now_ms = int(seconds) * 1000 + int(micros) // 1000
    pipe = redis.pipeline(transaction=True)
    pipe.zadd(keys.alive, {name: now_ms})
    pipe.zremrangebyscore(keys.alive, "-inf", now_ms - _KEEP_MS)
    pipe.pexpire(keys.alive, _KEEP_MS)
    pipe.execute()


def gone(redis: Redis, keys: Keys, name: str) -> None:
    """Says that this process ends."""
    redis.zrem(keys.alive, name)


@dataclass(frozen=True)
class Process:
    """A process and when it was last seen."""

    name: str
    age_ms: int

    @property
    def role(self) -> str:
        """worker or scheduler"""
        return self.name.partition("@")[0]


def processes(redis: Redis, keys: Keys) -> list[Process]:
    """All processes seen within the last hour, the freshest first."""
    seconds, micros = redis.time()
    now_ms = int(seconds) * 1000 + int(micros) // 1000
    rows: list[Any] = list(redis.zrevrange(keys.alive, 0, -1, withscores=True))
    return [Process(_text(name), max(0, now_ms - int(seen))) for name, seen in rows]


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
