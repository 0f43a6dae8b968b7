"""What arrived when: the log of requests by their first byte, and the limit that counts them."""

from __future__ import annotations

import hashlib
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Final

KEPT_ARRIVALS: Final = 100_000


def worst_window(times_s: Iterable[float], window_s: float) -> int:
    """The largest number of arrivals in any window [t, t + window_s).

    Two arrivals exactly one window apart are not in the same window. O(n log n)."""
    ordered = sorted(times_s)
    worst = first = 0
    for last, at in enumerate(ordered):
        while at - ordered[first] >= window_s:
            first += 1
        worst = max(worst, last - first + 1)
    return worst


def fingerprint(key: str) -> str:
    """Eight hex digits that tell keys apart without telling the key; empty for no key."""
    return hashlib.sha256(key.encode()).hexdigest()[:8] if key else ""


@dataclass(frozen=True, slots=True)
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

    @property
    def mono_s(self) -> float:
        return self.mono_ns / 1e9

    def as_json(self) -> dict[str, object]:
        return {**asdict(self), "tickers": list(self.tickers)}


@dataclass(slots=True)
class _Counted:
    """An arrival while it can matter to the limit."""

    seq: int
    mono_ns: int
    key: str | None = None  # None: not read yet, so it may be anybody's
    passed: bool = False


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
        self._kept: deque[Arrival] = deque(maxlen=keep)
        self._open: dict[int, Arrival] = {}
        self._counted: deque[_Counted] = deque()
        self._next = 1

    def begin(self, mono_ns: int, wall_s: float) -> int:
        """A first byte came; returns the number of the arrival."""
        with self._lock:
            seq, self._next = self._next, self._next + 1
            self._open[seq] = Arrival(seq, mono_ns, wall_s)
            self._counted.append(_Counted(seq, mono_ns))
            return seq

    def describe(self, seq: int, method: str, path: str, tickers: Sequence[str], key: str) -> None:
        """The head of the request has been read."""
        with self._lock:
            self._open[seq] = replace(
                self._open[seq],
                method=method,
                path=path,
                tickers=tuple(tickers),
                key=fingerprint(key),
            )
            for other in reversed(self._counted):
                if other.seq == seq:
                    other.key = fingerprint(key)
                    return

    def admit(self, seq: int) -> bool:
        """Decide whether the arrival is within the limit. Only once per arrival.

        It is when fewer than `limit` counted before it, and those let in stay within the limit in
        every window. The second matters when a later arrival was decided first: threads do not
        wake up in the order in which bytes come."""
        with self._lock:
            mine = self._counted_as(seq)
            window_ns = round(self.window_s * 1e9)
            self._forget(mine.mono_ns - 2 * window_ns)
            mine.passed = self.limit is None or self._fits(mine, window_ns, self.limit)
            if not mine.passed and not self.count_refused:
                self._uncount(seq)
            return mine.passed

    def _fits(self, mine: _Counted, window_ns: int, limit: int) -> bool:
        near = [
            other
            for other in self._counted
            if other is not mine
            and other.key in (None, mine.key)
            and abs(mine.mono_ns - other.mono_ns) < window_ns
        ]
        earlier = sum((other.mono_ns, other.seq) < (mine.mono_ns, mine.seq) for other in near)
        let_in = [other.mono_ns for other in near if other.passed]
        return earlier < limit and worst_window([*let_in, mine.mono_ns], window_ns) <= limit

    def finish(self, seq: int, status: int | None) -> None:
        """The request was answered with `status`, or ended without an answer (None)."""
        with self._lock:
            if (arrival := self._open.pop(seq, None)) is not None:
                self._kept.append(replace(arrival, status=status))
                if not arrival.method:  # cut off before it named a key: nobody's quota
                    self._uncount(seq)

    def forget(self, seq: int) -> None:
        """It was one of our own control requests: no arrival at all."""
        with self._lock:
            self._open.pop(seq, None)
            self._uncount(seq)

    def all(self) -> list[Arrival]:
        """Every kept arrival in order of arrival, with those still being answered.

        One whose head is still being read is left out: it may turn out to be a control request."""
        with self._lock:
            answering = (arrival for arrival in self._open.values() if arrival.method)
            return sorted([*self._kept, *answering], key=lambda a: (a.mono_ns, a.seq))

    def clear(self) -> None:
        """Forget log and window, as a test between two cases wants it."""
        with self._lock:
            self._kept.clear()
            self._counted.clear()

    def _counted_as(self, seq: int) -> _Counted:
        for counted in reversed(self._counted):
            if counted.seq == seq:
                return counted
        arrival = self._open[seq]  # so slow to say what it wants that it was forgotten meanwhile
        self._counted.appendleft(_Counted(seq, arrival.mono_ns, arrival.key))
        return self._counted[0]

    def _uncount(self, seq: int) -> None:
        self._counted = deque(other for other in self._counted if other.seq != seq)

    def _forget(self, before_ns: int) -> None:
        while self._counted and self._counted[0].mono_ns < before_ns:
            self._counted.popleft()
