"""A stop ends a wait soon, work at its next natural end, and never escapes as an error."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from runtime.stopping import StopFlag


@pytest.fixture
def flag() -> Iterator[StopFlag]:
    """Set by SIGALRM, as the work-horse's is by SIGUSR1."""
    flag = StopFlag()
    before = signal.signal(signal.SIGALRM, lambda *_: flag.set())
    yield flag
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_a_sleep_that_nobody_cuts_short_lasts(flag: StopFlag) -> None:
    began = time.monotonic()
    assert flag.sleep(0.3) is True
    assert time.monotonic() - began >= 0.3
    assert not flag.is_set()


def test_a_stop_ends_a_sleep(flag: StopFlag) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    began = time.monotonic()
    assert flag.sleep(30) is False
    assert time.monotonic() - began < 5
    assert flag.is_set()


def test_after_a_stop_nothing_is_waited_for(flag: StopFlag) -> None:
    flag.set()
    began = time.monotonic()
    assert flag.sleep(30) is False
    assert time.monotonic() - began < 5


def test_a_fresh_start_forgets_the_stop(flag: StopFlag) -> None:
    flag.set()
    flag.clear()
    assert flag.sleep(0.01) is True


def test_whenever_the_signal_strikes_it_is_seen(flag: StopFlag) -> None:
    """A timer that runs ahead of very short sleeps finds every line; nothing escapes or hangs."""
    struck = 0
    ends_at = time.monotonic() + 1.0
    while time.monotonic() < ends_at or struck <= 500:
        flag.clear()
        signal.setitimer(signal.ITIMER_REAL, 0.00002 + (struck % 40) * 0.000002)
        while not flag.is_set():
            flag.sleep(0.00001)
        struck += 1
