"""The ways to show a run: a screen in a terminal, else lines for people or for programs."""

from __future__ import annotations

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Self, TextIO

from health.holds import WAITS
from health.texts import span
from health.waits import band_name
from local.watching import Counts, Failure, Refresh, Status

_STATUS_EVERY_S = 15.0


class View(ABC):
    """The place where a run shows what happens."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:  # noqa: B027 - lines leave nothing to undo
        """Leave the terminal as it was."""

    @abstractmethod
    def say(self, line: str) -> None:
        """Show a line that stays."""

    @abstractmethod
    def refreshed(self, refresh: Refresh) -> None:
        """Show one refresh."""

    @abstractmethod
    def status(self, status: Status) -> None:
        """Show queue, quota and failures as they are now."""

    def earlier(self, refreshes: Iterable[Refresh]) -> None:  # noqa: B027 - lines tell what is new
        """Show what was refreshed before the run began, oldest first."""

    def wait(self, seconds: float) -> bool:
        """Let this time pass; returns True at once if the user asks for the end."""
        time.sleep(seconds)
        return False


class _News:
    """Tells the failures that were not told yet."""

    def __init__(self) -> None:
        self._told: set[tuple[object, ...]] = set()

    def among(self, failures: Sequence[Failure]) -> list[Failure]:
        """Return the new ones of these, oldest first."""
        seen = {(f.symbol, f.attempts, f.given_up_at): f for f in failures}
        new = [f for key, f in seen.items() if key not in self._told]
        self._told = set(seen)
        return new[::-1]


class PlainView(View):
    """One line per refresh and failure, one about queue and quota every 15 seconds."""

    def __init__(self) -> None:
        self._next_status_s = 0.0
        self._news = _News()

    def say(self, line: str) -> None:
        """Print it."""
        print(line, flush=True)

    def refreshed(self, refresh: Refresh) -> None:
        """Print it in one line."""
        self.say(
            f"{clock(refresh.at)} {refresh.symbol:<8} {money(refresh):>12}  "
            f"{refresh.delay}, {span(refresh.age_s)} old, from {refresh.source}  "
            f"[{band_name(refresh.priority)}, waited {span(refresh.waited_s)}]"
        )

    def status(self, status: Status) -> None:
        """Print new failures, and the rest if it is time."""
        for failure in self._news.among(status.failures):
            told = f"{failure.reason}; {what_next(failure, status.at)}"
            self.say(f"{clock(status.at)} {failure.symbol:<8} failed: {told}")
        if time.monotonic() < self._next_status_s:
            return
        self._next_status_s = time.monotonic() + _STATUS_EVERY_S
        parts = [
            f"assets: {counted(status.prices)}",
            f"bars: {counted(status.bars)}",
            calls_left(status),
            f"next batch {clock(status.next_batch_at)}",
            f"next: {awaited(status)}",
        ]
        self.say(f"{clock(status.at)} {' · '.join(parts)}")


class JsonView(View):
    """One JSON object a line, told apart by `type`: message, refresh, failure or status.

    A status comes when something but its instants has changed, and every 15 seconds."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._news = _News()
        self._last: object = None
        self._next_status_s = 0.0

    def say(self, line: str) -> None:
        """Write a message."""
        self._write("message", at=datetime.now(UTC), text=line)

    def refreshed(self, refresh: Refresh) -> None:
        """Write a refresh."""
        self._write("refresh", **vars(refresh) | {"priority": band_name(refresh.priority)})

    def status(self, status: Status) -> None:
        """Write new failures, and the rest if it is new or if it is time."""
        for failure in self._news.among(status.failures):
            self._write("failure", at=status.at, **vars(failure))
        same = (status.prices, status.bars, status.calls_left, status.next_symbol, status.why)
        if same == self._last and time.monotonic() < self._next_status_s:
            return
        self._last, self._next_status_s = same, time.monotonic() + _STATUS_EVERY_S
        values = {name: value for name, value in vars(status).items() if name != "failures"}
        counts = {"prices": _counts(status.prices), "bars": _counts(status.bars)}
        self._write("status", **values | counts)

    def _write(self, kind: str, **values: Any) -> None:
        line = json.dumps({"type": kind} | values, default=_plain, ensure_ascii=False)
        print(line, file=self._out, flush=True)


def _counts(counts: Counts) -> dict[str, Any]:
    return vars(counts) | {"queued": {band.name: n for band, n in counts.queued.items()}}


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else float(str(value))


def counted(counts: Counts) -> str:
    """Tell how many items wait in each band, pause, are in work and were given up."""
    queued = [f"{count} {band.name.lower()}" for band, count in counts.queued.items()]
    others = (f"{counts.delayed} delayed", f"{counts.leased} in work", f"{counts.dead} dead")
    return ", ".join([*queued, *others])


def calls_left(status: Status) -> str:
    """Tell how many calls may be made at once."""
    if status.calls_left is None:
        return "calls are not limited"
    return f"calls left: {status.calls_left} of {status.limit}"


def awaited(status: Status) -> str:
    """Tell what comes next, when, and why not now."""
    if status.why is None:
        return "nothing waits"
    asset = status.next_symbol or f"{status.held} item(s)"
    why = WAITS.get(status.why, status.why)
    if not status.wait_s:
        return f"{asset} now"
    return f"{asset} in {span(status.wait_s)} ({why})"


def what_next(failure: Failure, now: datetime) -> str:
    """Tell when a failed item is tried again."""
    if failure.given_up_at is not None:
        return f"given up {moment(failure.given_up_at, now)}"
    if failure.again_at is None or failure.again_at <= now:
        return "waits its turn"
    return f"again in {span((failure.again_at - now).total_seconds())}"


def clock(instant: datetime) -> str:
    """The time of day, in UTC."""
    return f"{instant:%H:%M:%S}"


def moment(instant: datetime, now: datetime) -> str:
    """The time of day; of another day its date instead of the seconds."""
    return clock(instant) if instant.date() == now.date() else f"{instant:%m-%d %H:%M}"


def money(refresh: Refresh) -> str:
    """The price as the provider wrote it."""
    return f"{refresh.price:f}"
