"""When a request must have begun: a deadline that holds across DNS, connect, TLS and suspend."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass

from market.errors import SendDeadlinePassed


def boottime_s() -> float:
    """Seconds on a clock that never steps and also counts while the machine is suspended."""
    if sys.platform == "darwin":
        return time.clock_gettime(time.CLOCK_MONOTONIC)  # there time.monotonic() stops in sleep
    if hasattr(time, "CLOCK_BOOTTIME"):
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    return time.monotonic()


@dataclass(frozen=True, slots=True)
class SendDeadline:
    """The instant on `boottime_s` after which a request must not begin any more."""

    at_s: float

    @classmethod
    def after(cls, seconds: float, *, start_s: float | None = None) -> SendDeadline:
        """`seconds` from now, or from `start_s`: for a call granted by another machine that is
        `boottime_s()` taken *before* asking, since the grant happened somewhere after it."""
        return cls((boottime_s() if start_s is None else start_s) + seconds)

    def remaining_s(self) -> float:
        """The seconds until the deadline; negative when it has passed."""
        return self.at_s - boottime_s()


class Attempt:
    """One request: how long each part may take, and what became of it.

    sent      the first byte may have left; False is certain.
    answered  the head of an HTTP answer came back.
    """

    def __init__(self, deadline: SendDeadline, *, connect_s: float, read_s: float) -> None:
        self.deadline = deadline
        self.sent = False
        self.answered = False
        self._read_s = read_s
        self._until_s = min(deadline.at_s, boottime_s() + connect_s)

    def left_s(self) -> float:
        """Time left for what goes on now: reaching the server, or reading the whole answer."""
        left_s = self._until_s - boottime_s()
        if left_s <= 0:
            raise TimeoutError("timed out")
        return left_s

    def begin_sending(self) -> None:
        """Called with the connection ready, nothing written, and the write as the very next thing;
        raises SendDeadlinePassed. From here on the time for reading runs."""
        self._until_s = boottime_s() + self._read_s
        if self.deadline.remaining_s() <= 0:
            raise SendDeadlinePassed()
        self.sent = True

    @contextlib.contextmanager
    def active(self) -> Iterator[None]:
        """Requests made inside belong to this attempt (in this thread)."""
        token = current_attempt.set(self)
        try:
            yield
        finally:
            current_attempt.reset(token)


current_attempt: ContextVar[Attempt] = ContextVar("market_attempt")
