"""Drain in the command's own process, as a worker does."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import click

from runtime.stopping import StopFlag
from settings import Settings
from worker.drain import SLICE_S
from worker.tasks import TickSession
from worker.tasks import open_session as open_tick_session
from worker.ticks import Ticks

_GENTLE = (signal.SIGINT, signal.SIGTERM)
_AGAIN_S = 0.5


class _PatientTicks(Ticks):
    """Ticks for a process that has no others: a worker's drain makes room for them."""

    def others_waiting(self) -> bool:
        """Never."""
        return False


@dataclass
class Outcome:
    """The calls of this process."""

    calls: int = 0
    signal: int | None = None
    """The signal that ended it."""


@contextmanager
def open_session(settings: Settings) -> Iterator[TickSession]:
    """Redis and PostgreSQL, with every migration. Raises SettingsError without an API key."""
    from db.migrate import require_current_schema

    settings.required_api_key()
    with open_tick_session(settings) as one:
        one.context.redis.ping()
        require_current_schema(one.connection)
        ticks = _PatientTicks(one.context.redis, one.context.keys)
        try:
            yield TickSession(one.context, one.connection, ticks, one.capabilities)
        finally:
            ticks.close()


def drain_now(one: TickSession) -> Outcome:
    """Take the calls that are free now, and do not wait for more."""
    return _drain(one, SLICE_S, patient=False)


def drain_for(one: TickSession, seconds: float) -> Outcome:
    """Refresh as calls become free until the time is over or nothing is pending."""
    return _drain(one, seconds, patient=True)


def _drain(one: TickSession, seconds: float, *, patient: bool) -> Outcome:
    """Drain in slices as short as a worker's: the proof of a quiet window relies on it."""
    outcome, stop, end_s = Outcome(), StopFlag(), time.monotonic() + seconds
    with _signals_stop(stop, outcome):
        while (left_s := end_s - time.monotonic()) > 0 and not stop.is_set():
            drained = one.drain(stop=stop, slice_s=min(left_s, SLICE_S), patient=patient)
            outcome.calls += drained.calls
            if drained.ended == "empty" and one.context.queue.next_at().next_at_ms is None:
                break
            if drained.ended in ("another", "empty", "wait"):
                if not patient:
                    break
                # A worker waits for the next call, or refreshes the last items.
                stop.sleep(min(_AGAIN_S, left_s))
    return outcome


@contextmanager
def _signals_stop(stop: StopFlag, outcome: Outcome) -> Iterator[None]:
    """Finish the running call at the first Ctrl-C or SIGTERM, and end at once at the second."""

    def handle(number: int, frame: FrameType | None) -> None:
        outcome.signal = number
        signal.signal(number, signal.default_int_handler)
        click.echo("finishing the call that runs", err=True)
        stop.set()

    before = {number: signal.signal(number, handle) for number in _GENTLE}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
