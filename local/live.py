"""The live view: tables that change in a terminal, plain lines everywhere else."""

from __future__ import annotations

import sys
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from health.causes import WAITS
from health.texts import span
from local.watching import Refresh, Status
from queueing import Priority

_STATUS_EVERY_S = 15.0
_KEPT = 200
_WIDE = 104  # columns from which on all of a refresh fits
_OTHER_LINES = 16  # of the screen, beside the refreshes


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
        """Show queue and quota as they are now."""


def choose_view(title: str, pinned: Sequence[str]) -> View:
    """Tables in a terminal, else lines. `pinned` are the symbols that tables always show."""
    return LiveView(title, pinned) if sys.stdout.isatty() else PlainView()


class PlainView(View):
    """One line per refresh, one about queue and quota every 15 seconds."""

    def __init__(self) -> None:
        self._next_status_s = 0.0

    def say(self, line: str) -> None:
        print(line, flush=True)

    def refreshed(self, refresh: Refresh) -> None:
        self.say(
            f"{clock(refresh.at)} {refresh.symbol:<8} {money(refresh):>12}  "
            f"{refresh.delay}, {span(refresh.age_s)} old, from {refresh.source}  "
            f"[{Priority(refresh.priority).name}, waited {span(refresh.waited_s)}]"
        )

    def status(self, status: Status) -> None:
        if time.monotonic() < self._next_status_s:
            return
        self._next_status_s = time.monotonic() + _STATUS_EVERY_S
        queue = ", ".join(
            f"{count} {band.name.lower()}" for band, count in status.by_priority.items()
        )
        others = f"{status.delayed} delayed, {status.leased} running, {status.dead} dead"
        parts = [
            f"queue: {queue}, {others}",
            calls_left(status),
            f"next batch {clock(status.next_batch_at)}",
            awaited(status),
        ]
        self.say(f"{clock(status.at)} {' · '.join(parts)}")


class LiveView(View):
    """Tables that are drawn anew four times a second; said lines scroll by above them.

    The pinned symbols stand on top with their latest refresh, above the newest of the others."""

    def __init__(
        self, title: str, pinned: Sequence[str] = (), console: Console | None = None
    ) -> None:
        self._title = title
        self._pinned: dict[str, Refresh | None] = dict.fromkeys(pinned)
        self._console = console or Console()
        self._refreshes: deque[Refresh] = deque(maxlen=_KEPT)
        self._status: Status | None = None
        self._live = Live(
            console=self._console,
            refresh_per_second=4,
            transient=True,
            get_renderable=self.render,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False)

    def refreshed(self, refresh: Refresh) -> None:
        if refresh.symbol in self._pinned:
            self._pinned[refresh.symbol] = refresh
        else:
            self._refreshes.appendleft(refresh)

    def status(self, status: Status) -> None:
        self._status = status

    def render(self) -> RenderableType:
        """Draw the screen as it is now, fitted to its height."""
        rows = max(3, self._console.height - _OTHER_LINES)
        title = Text(self._title, style="bold", no_wrap=True, overflow="ellipsis")
        parts: list[RenderableType] = [title, self._latest(rows)]
        if self._status is not None:
            parts += [_queue_table(self._status), _waits(self._status)]
        parts.append(Text("Ctrl-C finishes what runs and stops everything", style="dim"))
        return Group(*parts)

    def _latest(self, rows: int) -> Table:
        table = Table(title="latest refreshes", title_justify="left", expand=False)
        for name in ("at (UTC)", "symbol"):
            table.add_column(name, no_wrap=True)
        table.add_column("price", justify="right", no_wrap=True)
        table.add_column("age", justify="right")
        wide = self._console.width >= _WIDE
        for name in ("source", "delay", "priority") if wide else ("priority",):
            table.add_column(name)
        table.add_column("waited", justify="right")
        pinned = [refresh for refresh in self._pinned.values() if refresh is not None]
        for refresh in [*pinned, *self._refreshes][:rows]:
            cells = _cells(refresh, wide=wide)
            table.add_row(*cells, style="bold" if refresh in pinned else "")
        return table


def _cells(refresh: Refresh, *, wide: bool) -> list[str]:
    return [
        clock(refresh.at),
        refresh.symbol,
        money(refresh),
        span(refresh.age_s),
        *((refresh.source, refresh.delay) if wide else ()),
        Priority(refresh.priority).name,
        span(refresh.waited_s),
    ]


def _queue_table(status: Status) -> Table:
    table = Table(title="queue", title_justify="left", expand=False)
    for band in Priority:
        table.add_column(band.name, justify="right")
    for name in ("delayed", "running", "dead"):
        table.add_column(name, justify="right")
    counts = [status.by_priority.get(band, 0) for band in Priority]
    table.add_row(*(str(count) for count in [*counts, status.delayed, status.leased, status.dead]))
    return table


def _waits(status: Status) -> Text:
    lines = [
        f"{calls_left(status)} · next batch at {clock(status.next_batch_at)}"
        f" (in {span((status.next_batch_at - status.at).total_seconds())})",
        awaited(status),
    ]
    return Text("\n".join(lines))


def calls_left(status: Status) -> str:
    if status.calls_left is None:
        return "calls are not limited"
    return f"calls left: {status.calls_left} of {status.limit}"


def awaited(status: Status) -> str:
    """Tell what comes next, when, and why not now."""
    if status.why is None:
        return "nothing waits"
    asset = status.next_symbol or f"{status.delayed + status.leased} asset(s)"
    why = WAITS.get(status.why, status.why)
    if not status.wait_s:
        return f"next: {asset} now"
    return f"next: {asset} in {span(status.wait_s)} ({why})"


def clock(instant: datetime) -> str:
    return f"{instant:%H:%M:%S}"


def money(refresh: Refresh) -> str:
    return f"{refresh.price:f}"
