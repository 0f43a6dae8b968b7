"""Two threads that use the queue during a run: one asks for assets, one looks at leases."""

import random
import threading
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from redis import Redis
from redis.exceptions import RedisError

from queueing import Policy, Priority, PriorityQueue, Request
from tests.chaos.evidence import PREFIX

_LOOK_EVERY_S = 0.1
_ASK_EVERY_S = 0.5
_AT_ONCE = 4


class _Looper(threading.Thread, ABC):
    """Calls `once` every so often until it is stopped; Redis may be away meanwhile."""

    def __init__(self, url: str, every_s: float) -> None:
        super().__init__(daemon=True)
        # Straight to the server: what it does must not depend on the roads.
        self._redis = Redis.from_url(url, decode_responses=True, socket_timeout=5)
        self._every_s = every_s
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(self._every_s):
            try:
                self.once()
            except RedisError:
                self.away()
        self._redis.close()

    def stop(self) -> None:
        self._ended.set()
        self.join(10)

    @abstractmethod
    def once(self) -> None:
        """One round."""

    def away(self) -> None:
        """Redis did not answer."""


class Client(_Looper):
    """Asks for assets at random, and remembers what was acknowledged."""

    def __init__(self, url: str, assets: Sequence[tuple[str, str]], *, seed: int) -> None:
        super().__init__(url, _ASK_EVERY_S)
        self._assets, self._random = assets, random.Random(seed)
        self._queue = PriorityQueue(self._redis, Policy())
        self.acknowledged: list[tuple[str, int, str]] = []

    def once(self) -> None:
        chosen = self._random.sample(self._assets, self._random.randint(1, _AT_ONCE))
        requests = [Request(symbol, {"symbol": symbol, "ticker": t}) for symbol, t in chosen]
        priority = self._random.choice([Priority.HIGH, Priority.MEDIUM, Priority.LOW])
        answer = self._queue.enqueue(requests, priority)
        self.acknowledged += [(s, answer.now_ms, what.value) for s, what, _ in answer.results]


class LeaseWatch(_Looper):
    """Sees each lease that expires, and when it is taken back."""

    def __init__(self, url: str) -> None:
        super().__init__(url, _LOOK_EVERY_S)
        self._overdue: dict[str, int] = {}
        self._last_ms = 0
        self._away = False
        self.recoveries: list[tuple[str, int, int]] = []
        self.outages: list[tuple[int, int, str]] = []

    def once(self) -> None:
        pipe = self._redis.pipeline(transaction=True)
        pipe.time()
        pipe.zrange(f"{PREFIX}leases", 0, -1, withscores=True)
        (seconds, micros), leases = pipe.execute()
        now_ms = int(seconds) * 1000 + int(micros) // 1000
        deadlines = {str(symbol): int(score) for symbol, score in leases}
        for symbol, deadline in list(self._overdue.items()):
            if deadlines.get(symbol) != deadline:  # freed, or leased anew
                self.recoveries.append((symbol, deadline, now_ms))
                del self._overdue[symbol]
        self._overdue |= {s: at for s, at in deadlines.items() if at < now_ms}
        if self._away:
            self.outages.append((self._last_ms, now_ms, "redis"))
        self._last_ms, self._away = now_ms, False

    def away(self) -> None:
        self._away = True


@contextmanager
def running(*loopers: _Looper) -> Iterator[None]:
    """Started, and stopped at the end whatever happens."""
    for looper in loopers:
        looper.start()
    try:
        yield
    finally:
        for looper in loopers:
            looper.stop()
