"""Threads beside a run: one asks for assets, one looks at leases, one at health."""

import random
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import requests
from redis import Redis
from redis.exceptions import RedisError

from queueing import Policy, Priority, PriorityQueue, Request
from tests.chaos.evidence import PREFIX

_LOOK_EVERY_S = 0.1
_ASK_EVERY_S = 0.5
_AT_ONCE = 4
_HEALTH_EVERY_S = 0.4
_SLACK_MS = 1000


def now_ms() -> int:
    """This machine's clock."""
    return int(time.time() * 1000)


class Looper(threading.Thread, ABC):
    """Calls `once` every so often until it is stopped."""

    def __init__(self, every_s: float) -> None:
        super().__init__(daemon=True)
        self._every_s = every_s
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(self._every_s):
            self.once()

    def stop(self) -> None:
        self._ended.set()
        self.join(10)

    @abstractmethod
    def once(self) -> None:
        """One round."""


class RedisLooper(Looper):
    """Calls `look` with every round; Redis may be away meanwhile, or refuse."""

    def __init__(self, url: str, every_s: float) -> None:
        super().__init__(every_s)
        # Straight to the server: what it does must not depend on the roads.
        self._redis = Redis.from_url(url, decode_responses=True, socket_timeout=5)

    def once(self) -> None:
        try:
            self.look()
        except RedisError:
            self.away()

    def stop(self) -> None:
        super().stop()
        self._redis.close()

    @abstractmethod
    def look(self) -> None:
        """One round while Redis answers."""

    def away(self) -> None:
        """Redis did not answer."""


class Client(RedisLooper):
    """Asks for one asset again and again, for others at random, and remembers what the queue
    acknowledged."""

    def __init__(
        self, url: str, assets: Sequence[tuple[str, str]], always: tuple[str, str], *, seed: int
    ) -> None:
        super().__init__(url, _ASK_EVERY_S)
        self._assets, self._always, self._random = assets, always, random.Random(seed)
        self._queue = PriorityQueue(self._redis, Policy())
        self.acknowledged: list[tuple[str, int, str]] = []

    def look(self) -> None:
        chosen = self._random.sample(self._assets, self._random.randint(1, _AT_ONCE))
        self._ask([self._always], Priority.HIGH)
        self._ask(chosen, self._random.choice([Priority.HIGH, Priority.MEDIUM, Priority.LOW]))

    def _ask(self, assets: Sequence[tuple[str, str]], priority: Priority) -> None:
        requests = [Request(symbol, {"symbol": symbol, "ticker": t}) for symbol, t in assets]
        asked_ms = now_ms()
        answer = self._queue.enqueue(requests, priority)
        self.acknowledged += [(s, asked_ms, what.value) for s, what, _ in answer.results]


class LeaseWatch(RedisLooper):
    """Sees each lease that is over, and when it is taken back.

    A lease is over at its deadline, and also where it ends later than any lease may: the clock of
    Redis was ahead when it was given, and has been corrected since."""

    def __init__(self, url: str, lease_ms: int) -> None:
        super().__init__(url, _LOOK_EVERY_S)
        self._lease_ms = lease_ms
        self._overdue: dict[tuple[str, int], int] = {}
        self._last_ms = 0
        self._away = False
        self.recoveries: list[tuple[str, int, int]] = []
        self.outages: list[tuple[int, int, str]] = []

    def look(self) -> None:
        pipe = self._redis.pipeline(transaction=True)
        pipe.time()
        pipe.zrange(f"{PREFIX}leases", 0, -1, withscores=True)
        (seconds, micros), leases = pipe.execute()
        redis_ms = int(seconds) * 1000 + int(micros) // 1000
        seen_ms = now_ms()
        over = {
            (str(symbol), int(deadline))
            for symbol, deadline in leases
            if not redis_ms <= deadline <= redis_ms + self._lease_ms + _SLACK_MS
        }
        for symbol, deadline in self._overdue.keys() - over:  # freed, or leased anew
            since_ms = self._overdue.pop((symbol, deadline))
            self.recoveries.append((symbol, since_ms, seen_ms))
        for one in over:
            self._overdue.setdefault(one, seen_ms)
        if self._away:
            self.outages.append((self._last_ms, seen_ms, "redis"))
        self._last_ms, self._away = seen_ms, False

    def away(self) -> None:
        self._away = True


class HealthWatch(Looper):
    """Reads what /health/batch gives as reasons, and when."""

    def __init__(self, url: str) -> None:
        super().__init__(_HEALTH_EVERY_S)
        self._url = f"{url}/health/batch"
        self.readings: list[tuple[int, list[str]]] = []

    def once(self) -> None:
        try:
            answer = requests.get(self._url, timeout=5)
            reasons = list(answer.json()["reasons"])
        except (requests.RequestException, ValueError) as error:
            reasons = [f"no answer: {type(error).__name__}"]
        self.readings.append((now_ms(), reasons))


@contextmanager
def running(*loopers: Looper) -> Iterator[None]:
    """Started, and stopped at the end whatever happens."""
    for looper in loopers:
        looper.start()
    try:
        yield
    finally:
        for looper in loopers:
            looper.stop()
