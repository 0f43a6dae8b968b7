"""A stop ends a wait at once, work at its next natural end, and never escapes as an error."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from worker.stopping import StopFlag


@pytest.fixture
def flag() -> Iterator[StopFlag]:
    """Set by SIGALRM, as the work-horse's is by SIGUSR1."""
    flag = StopFlag()
    before = signal.signal(signal.SIGALRM, lambda *_: flag.set())
    yield flag
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def nap(seconds: float) -> bool:
    """Any blocking call."""
    time.sleep(seconds)
    return True


def test_a_wait_that_nobody_cuts_short_tells_what_it_waited_for(flag: StopFlag) -> None:
    assert flag.wait(lambda: True) is True
    assert flag.wait(lambda: False) is False
    assert not flag.is_set()


def test_a_stop_ends_a_wait_at_once(flag: StopFlag) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    began = time.monotonic()
    assert flag.wait(lambda: nap(30)) is False
    assert time.monotonic() - began < 5
    assert flag.is_set()


def test_after_a_stop_nothing_is_waited_for(flag: StopFlag) -> None:
    flag.set()
    assert flag.wait(lambda: nap(30)) is False


def test_work_is_not_interrupted(flag: StopFlag) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.02)
    assert nap(0.1)
    assert flag.is_set()


def test_an_error_of_the_wait_is_not_swallowed(flag: StopFlag) -> None:
    with pytest.raises(ConnectionError):
        flag.wait(lambda: (_ for _ in ()).throw(ConnectionError()))
    flag.set()  # and the flag knows that nobody waits any more


def test_a_second_stop_is_harmless(flag: StopFlag) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.005)
    assert flag.wait(lambda: nap(30)) is False
    assert nap(0.05)
    assert flag.wait(lambda: nap(30)) is False


def test_a_fresh_start_forgets_the_stop(flag: StopFlag) -> None:
    flag.set()
    flag.clear()
    assert flag.wait(lambda: True) is True


def test_whenever_the_signal_strikes_nothing_escapes(flag: StopFlag) -> None:
    """A timer that runs ahead of very short waits finds every line of `wait`, its ends included."""
    struck = 0
    ends_at = time.monotonic() + 1.5
    while time.monotonic() < ends_at:
        flag.clear()
        signal.setitimer(signal.ITIMER_REAL, 0.00002 + (struck % 40) * 0.000002)
        while not flag.is_set():
            flag.wait(lambda: True)
        struck += 1
    assert struck > 500


def test_a_signal_at_the_very_end_of_a_wait_is_caught() -> None:
    """Strikes between the return of the blocking call and the moment the flag knows about it."""

    class Late(StopFlag):
        def __setattr__(self, name: str, value: object) -> None:
            if name == "_waiting" and value is False and self.__dict__.get("armed"):
                self.__dict__["armed"] = False
                self.set()
            super().__setattr__(name, value)

    flag = Late()
    flag.__dict__["armed"] = True
    assert flag.wait(lambda: True) is False
    assert flag.is_set()
