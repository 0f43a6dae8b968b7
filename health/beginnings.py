"""When each present cause of trouble was first seen: kept in Redis, so that all web processes tell
the same, and a restart of one forgets nothing. The process keeps what Redis cannot, while it is
away or where it lost its data.
"""

import threading
from collections.abc import Collection, Mapping
from typing import Any

from redis import Redis, RedisError

from queueing.foreign import figures
from queueing.keys import Keys

KEEP_S = 24 * 3600
"""How long a beginning is kept without a look. After that the cause may have come and gone."""
LOOKED = "looked"
"""Field with the ms of the last look."""
NOTE_MS = 10_000
"""A look that changes nothing is noted at most so often."""


class Beginnings:
    """First-seen instants of causes, in ms of Redis' clock. Threads may share it."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        self._redis, self._key = redis, keys.causes
        self._lock = threading.Lock()
        self._mine: dict[str, int] = {}

    def of(self, present: Collection[str], now_ms: int, *, readable: bool) -> dict[str, int]:
        """Return for each present cause since when it has been seen without a break, and forget
        those that are gone. `readable`: False keeps away from a Redis that is known to be away."""
        with self._lock:
            try:
                self._mine = (
                    self._shared(present, now_ms) if readable else self._alone(present, now_ms)
                )
            except RedisError:  # refuses changes, or has just gone: a cause of its own tells it
                self._mine = self._alone(present, now_ms)
            return {name: self._mine[name] for name in present}

    def _alone(self, present: Collection[str], now_ms: int) -> dict[str, int]:
        """What only Redis tells of is not seen now: whether it is gone is decided afterwards."""
        return self._mine | begun(present, {}, self._mine, now_ms)

    def _shared(self, present: Collection[str], now_ms: int) -> dict[str, int]:
        raw: Any = self._redis.hgetall(self._key)
        kept = figures(raw)
        found = begun(present, kept, self._mine, now_ms)
        gone = raw.keys() - found.keys() - {LOOKED}
        same = not gone and all(kept.get(name) == ms for name, ms in found.items())
        noted = not found or 0 <= now_ms - kept.get(LOOKED, -NOTE_MS) < NOTE_MS
        if same and noted:  # so that a look at a system without trouble changes nothing
            return found
        pipe = self._redis.pipeline()
        if gone:
            pipe.hdel(self._key, *gone)
        pipe.hset(self._key, mapping=dict[Any, Any](found) | {LOOKED: now_ms})
        pipe.expire(self._key, KEEP_S)
        pipe.execute()
        return found


def begun(
    present: Collection[str], kept: Mapping[str, int], mine: Mapping[str, int], now_ms: int
) -> dict[str, int]:
    """Return each present cause's beginning: the one that is `kept` for all processes, else `mine`.

    A beginning of `mine` from before the last shared look, which did not see the cause, is over.
    Nothing begins in the future: the clock has stepped back.
    """
    looked = kept.get(LOOKED, 0)
    own = {name: ms for name, ms in mine.items() if ms >= looked}
    return {name: min(now_ms, kept.get(name, own.get(name, now_ms))) for name in present}
