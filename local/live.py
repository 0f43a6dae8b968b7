"""The live view: one screen that fits its terminal, whatever its size."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Self, TextIO

from rich.console import Console, Group
from rich.live import Live

from local.board import Board
from local.screen import draw
from local.terminal import Keyboard, Suspension, in_front
from local.views import JsonView, PlainView, View
from local.watching import Refresh, Status

TITLE = "assetq: synthetic prices, made up by the sandbox API"
"""The title of a run without an API key."""


def choose_view(title: str, pinned: Sequence[str], *, json_to: TextIO | None = None) -> View:
    """JSON if there is a place for it, a screen in a terminal, else lines.

    `pinned` are the symbols that a screen always shows.
    """
    if json_to is not None:
        return JsonView(json_to)
    if in_terminal():
        return LiveView(title, pinned)
    return PlainView()


def in_terminal() -> bool:
    """True if a screen can be drawn."""
    return sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


class LiveView(View):
    """A screen that is drawn anew while it waits; q or Ctrl-C ends it. What was said stays.

    Ctrl-Z gives the terminal back; `fg` draws the screen again, and `bg` goes on without it."""

    def __init__(
        self, title: str, pinned: Sequence[str] = (), console: Console | None = None
    ) -> None:
        self.board = Board(title, pinned)
        self._console = console or Console()
        self._keyboard = Keyboard()
        self._suspension = Suspension()
        self._live = Live(
            console=self._console, screen=True, auto_refresh=False, get_renderable=self.render
        )

    def __enter__(self) -> Self:
        self._suspension.__enter__()
        self._show()
        return self

    def __exit__(self, *_: object) -> None:
        self._suspension.__exit__()
        self._hide()
        for line in self.board.said:
            self._console.print(line, markup=False, highlight=False)

    def _show(self) -> None:
        self._keyboard.__enter__()
        self._live.start()

    def _hide(self) -> None:
        try:
            self._live.stop()
        finally:
            self._keyboard.__exit__()

    def say(self, line: str) -> None:
        """Show it until others come, and again after the end."""
        self.board.said.append(line)

    def earlier(self, refreshes: Iterable[Refresh]) -> None:
        """Begin with what is known already."""
        for refresh in refreshes:
            self.board.refreshed(refresh)

    def refreshed(self, refresh: Refresh) -> None:
        """Show it as the newest."""
        self.board.refreshed(refresh)

    def status(self, status: Status) -> None:
        """Show it."""
        self.board.looked(status)

    def wait(self, seconds: float) -> bool:
        """Draw the screen, and let this time pass; q ends it."""
        if self._suspension.asked:
            self._hide()
            self._suspension.obey()
        if not self._live.is_started:
            if not in_front(sys.stdout.fileno()):
                time.sleep(seconds)
                return False
            self._show()
        self._live.refresh()
        return "q" in self._keyboard.wait(seconds).lower()

    def render(self) -> Group:
        """Draw the screen as it is now."""
        width, height = self._console.size
        return Group(*draw(self.board, width, height, keys=self._keyboard.works))
