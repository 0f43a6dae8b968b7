"""What arrived when: the log of requests by their first byte, and the limit that counts them."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

KEPT_ARRIVALS: Final = 100_000


def worst_window(times: Iterable[float], window: float) -> int:
    """The largest number of arrivals in any window [t, t + window), both in the same unit.

    Two arrivals exactly one window apart are not in the same window. O(n log n)."""
    ordered = sorted(times)
    worst = first = 0
    for last, at in enumerate(ordered):
        while at - ordered[first] >= window:
            first += 1
        worst = max(worst, last - first + 1)
    return worst


def fingerprint(key: str) -> str:
    """Eight hex digits that tell keys apart without telling the key; empty for no key."""
    return hashlib.sha256(key.encode()).hexdigest()[:8] if key else ""


@dataclass(slots=True)
class Arrival:
    """One request as the provider's socket saw it.

    `mono_ns` and `wall_s` are the moment of its first byte. `status` is None until it is answered
    and stays None where it never was (cut off by the client, or by a fault). `path` is without the
    query, which may hold a key."""

    seq: int
    mono_ns: int
    wall_s: float
    method: str = ""
    path: str = ""
    tickers: tuple[str, ...] = ()
    key: str = ""
    status: int | None = None
    ended: bool = False
    counts: bool = True  # towards the limit
    passed: bool = False  # was within the limit

    @property
    def mono_s(self) -> float:
        """`mono_ns` in seconds."""
        return self.mono_ns / 1e9

    def as_json(self) -> dict[str, object]:
        """The fields that the control request for arrivals shows."""
        names = ("seq", "mono_ns", "wall_s", "method", "path", "tickers", "key", "status")
        return {name: getattr(self, name) for name in names}


class ArrivalLog:
    """The last `keep` arrivals and the exact sliding window over them; thread-safe.

    An arrival exists from its first byte on, so a slow request still counts from when it began.
    The window is per key; a request whose key has not been read yet counts for every key. With
    `count_refused` the ones answered 429 count as well, as the provider most likely does."""

    def __init__(
        self,
        limit: int | None,
        window_s: float,
        *,
        count_refused: bool = True,
        keep: int = KEPT_ARRIVALS,
    ) -> None:
        self.limit, self.window_s, self.count_refused = limit, window_s, count_refused
        self._lock = threading.Lock()
        self._keep, self._next = keep, 1
        self._arrivals: OrderedDict[int, Arrival] = OrderedDict()

    def begin(self, mono_ns: int, wall_s: float) -> int:
        """Enter a first byte; returns the number of the arrival."""
        with self._lock:
            seq, self._next = self._next, self._next + 1
            self._arrivals[seq] = Arrival(seq, mono_ns, wall_s)
            if len(self._arrivals) > self._keep:
                self._arrivals.popitem(last=False)
            return seq

    def describe(self, seq: int, method: str, path: str, tickers: Sequence[str], key: str) -> None:
        """Enter what the head of the request says."""
        with self._lock:
            if (arrival := self._arrivals.get(seq)) is not None:
                arrival.method, arrival.path = method, path
                arrival.tickers, arrival.key = tuple(tickers), fingerprint(key)

    def admit(self, seq: int) -> bool:
        """Decide whether the arrival is within the limit. Only once per arrival.

        It is when fewer than `limit` counted before it, and those let in stay within the limit in
        every window. The second matters when a later arrival was decided first: threads do not
        wake up in the order in which bytes come. One that is forgotten meanwhile is let in."""
        with self._lock:
            if (mine := self._arrivals.get(seq)) is None:
                return True
            mine.passed = self.limit is None or self._fits(mine, self.limit)
            mine.counts = mine.passed or self.count_refused
            return mine.passed

    def _fits(self, mine: Arrival, limit: int) -> bool:
        window_ns = round(self.window_s * 1e9)
        near = [
            other
            for other in self._since(mine.mono_ns - 2 * window_ns)
            if other is not mine
            and other.counts
            and (other.key == mine.key or not other.method)
            and abs(mine.mono_ns - other.mono_ns) < window_ns
        ]
        earlier = sum((other.mono_ns, other.seq) < (mine.mono_ns, mine.seq) for other in near)
        let_in = [other.mono_ns for other in near if other.passed]
        return earlier < limit and worst_window([*let_in, mine.mono_ns], window_ns) <= limit

    def finish(self, seq: int, status: int | None) -> None:
        """Enter the answer's status, or None for one that ended without; the first entry stays."""
        with self._lock:
            arrival = self._arrivals.get(seq)
            if arrival is not None and not arrival.ended:
                arrival.ended, arrival.status = True, status
                if not arrival.method:  # cut off before it named a key: it counts for no quota
                    arrival.counts = False

    def forget(self, seq: int) -> None:
        """Remove a control request: it is no arrival at all."""
        with self._lock:
            self._arrivals.pop(seq, None)

    def all(self) -> list[Arrival]:
        """Copies of all kept arrivals in order of first bytes, with those still being answered.

        One whose head is still being read is left out: it may turn out to be a control request."""
        with self._lock:
            known = [replace(a) for a in self._arrivals.values() if a.method or a.ended]
        return sorted(known, key=lambda arrival: (arrival.mono_ns, arrival.seq))

    def clear(self) -> None:
        """Forget log and window, as a test between two cases wants it."""
        with self._lock:
            self._arrivals.clear()

    def _since(self, mono_ns: int) -> Iterator[Arrival]:
        """From the newest back; numbers follow first bytes closely, not exactly."""
        for arrival in reversed(self._arrivals.values()):
            if arrival.mono_ns < mono_ns:
                return
            yield arrival
