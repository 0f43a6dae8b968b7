"""The heartbeat of workers and schedulers: RQ's registry forgets a worker when Redis is flushed."""

from dataclasses import dataclass
from typing import Any

from redis import Redis

from queueing import Keys

_KEEP_MS = 3600 * 1000
ALIVE_MS = 90_000
"""A process seen within this time is alive: idle ones beat every 10 s, busy workers every 30 s."""


def beat(redis: Redis, keys: Keys, name: str) -> None:
    """Record that this process is alive now (Redis' clock)."""
    now_ms = _now_ms(redis)
    pipe = redis.pipeline(transaction=True)
    pipe.zadd(keys.alive, {name: now_ms})
    pipe.zremrangebyscore(keys.alive, "-inf", now_ms - _KEEP_MS)
    pipe.pexpire(keys.alive, _KEEP_MS)
    pipe.execute()


def gone(redis: Redis, keys: Keys, name: str) -> None:
    """Remove this process' heartbeat, because it ends in order."""
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
    """All processes seen within the last hour, the most recent first."""
    now_ms = _now_ms(redis)
    rows: list[Any] = list(redis.zrevrange(keys.alive, 0, -1, withscores=True))
    return [Process(_text(name), max(0, now_ms - int(seen))) for name, seen in rows]


def living(redis: Redis, keys: Keys, role: str) -> list[Process]:
    """The processes of one role (worker, scheduler) that are alive."""
    seen = processes(redis, keys)
    return [process for process in seen if process.role == role and process.age_ms <= ALIVE_MS]


def _now_ms(redis: Redis) -> int:
    seconds, micros = redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
