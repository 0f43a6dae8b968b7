"""Heartbeats of workers and schedulers: RQ forgets its workers when Redis is flushed."""

import os
import secrets
import socket
from dataclasses import dataclass
from typing import Any

from redis import Redis

from queueing import Keys
from queueing.foreign import figure
from runtime.logs import is_lost

KEEP_MS = 3600 * 1000
"""How long a process is remembered after its last heartbeat."""
ALIVE_MS = 90_000
"""A process whose last heartbeat is younger is alive: idle ones beat every 10 s, busy workers
every 30 s."""
DUE_MS = {"worker": 40_000, "scheduler": 10_000}
"""Role → age at which the next heartbeat is overdue; a scheduler beats with each pass."""
_ENDED = "ended:"
"""Before a role: when a process of that role last ended in order. It names no process."""
_UNLOGGED = "unlogged:"
"""Before the name of a process whose log cannot be written."""
_NOTES = (_ENDED, _UNLOGGED)
_FUTURE_MS = 1_000
"""Heartbeats further ahead were written before Redis' clock stepped back: they prove nothing."""
_TOKEN = secrets.token_hex(2)


def own_name(role: str, pid: int | None = None) -> str:
    """Name this process in listings: role, host, pid, and a token, since containers share both."""
    return f"{role}@{socket.gethostname().split('.')[0]}-{pid or os.getpid()}-{_TOKEN}"


def beat(redis: Redis, keys: Keys, name: str) -> None:
    """Record that this process is alive now (Redis' clock), and whether its log is lost."""
    now_ms = _now_ms(redis)
    pipe = redis.pipeline(transaction=True)
    pipe.zadd(keys.heartbeats, {name: now_ms})
    if is_lost():
        pipe.zadd(keys.heartbeats, {f"{_UNLOGGED}{name}": now_ms})
    else:
        pipe.zrem(keys.heartbeats, f"{_UNLOGGED}{name}")
    pipe.zremrangebyscore(keys.heartbeats, "-inf", now_ms - KEEP_MS)
    pipe.pexpire(keys.heartbeats, KEEP_MS)
    pipe.execute()


def gone(redis: Redis, keys: Keys, name: str) -> None:
    """Remove this process' heartbeat, because it ends in order; when, is remembered."""
    pipe = redis.pipeline(transaction=True)
    pipe.zrem(keys.heartbeats, name, f"{_UNLOGGED}{name}")
    pipe.zadd(keys.heartbeats, {f"{_ENDED}{name.partition('@')[0]}": _now_ms(redis)})
    pipe.pexpire(keys.heartbeats, KEEP_MS)
    pipe.execute()


@dataclass(frozen=True)
class Process:
    """A process and the age of its last heartbeat."""

    name: str
    age_ms: int

    @property
    def role(self) -> str:
        """The part of the name before `@`: worker or scheduler."""
        return self.name.partition("@")[0]

    @property
    def alive(self) -> bool:
        """True until it has missed several heartbeats."""
        return self.age_ms <= ALIVE_MS

    @property
    def silent(self) -> bool:
        """True if its next heartbeat is overdue: it has probably died, or hangs."""
        return self.age_ms > DUE_MS.get(self.role, ALIVE_MS)


def processes(redis: Redis, keys: Keys) -> list[Process]:
    """Return all processes with a heartbeat within the last hour, the latest first."""
    return [Process(n, age) for n, age in _ages(redis, keys) if not n.startswith(_NOTES)]


def known_names(redis: Redis, keys: Keys) -> list[str]:
    """Return the names of all processes that sent a heartbeat, also one that lies in the future
    until the next, because Redis' clock has just stepped back."""
    names = [_text(name) for name in redis.zrange(keys.heartbeats, 0, -1)]
    return [name for name in names if not name.startswith(_NOTES)]


def unlogged(redis: Redis, keys: Keys) -> list[str]:
    """Return the names of living processes whose log cannot be written."""
    return [
        name.removeprefix(_UNLOGGED)
        for name, age in _ages(redis, keys)
        if name.startswith(_UNLOGGED) and age <= ALIVE_MS
    ]


def ended(redis: Redis, keys: Keys) -> dict[str, int]:
    """Return role → how long ago (ms) a process of it last ended in order, within the last hour."""
    return {
        name.removeprefix(_ENDED): age
        for name, age in _ages(redis, keys)
        if name.startswith(_ENDED)
    }


def _ages(redis: Redis, keys: Keys) -> list[tuple[str, int]]:
    now_ms = _now_ms(redis)
    rows: list[Any] = list(redis.zrevrange(keys.heartbeats, 0, -1, withscores=True))
    beats = [(_text(name), figure(at_ms)) for name, at_ms in rows]
    ages = [(name, now_ms - at_ms) for name, at_ms in beats if at_ms is not None]
    return [(name, max(0, age)) for name, age in ages if age >= -_FUTURE_MS]


def living(redis: Redis, keys: Keys, role: str) -> list[Process]:
    """Return the processes of one role (worker, scheduler) that are alive."""
    return [p for p in processes(redis, keys) if p.role == role and p.alive]


def _now_ms(redis: Redis) -> int:
    seconds, micros = redis.time()
    return int(seconds) * 1000 + int(micros) // 1000


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
