"""The terminal itself: single keys while a view runs, and signals that end it in order."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

try:
    import termios
    import tty
except ImportError:  # pragma: no cover - a system without terminals of this kind
    termios = None  # type: ignore[assignment]

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
"""The signals that end a run in order."""


class Suspension:
    """Ctrl-Z while a view runs: noted when it is pressed, obeyed when the view has left the screen.

    Where signals of this kind are ignored, as under `nohup` and in some scripts, they still are.
    """

    def __init__(self) -> None:
        self._asked = False
        self._before: Any = None

    def __enter__(self) -> Self:
        if signal.getsignal(signal.SIGTSTP) is signal.SIG_DFL:
            self._before = signal.signal(signal.SIGTSTP, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTSTP, self._before)

    def _ask(self, *_: object) -> None:
        self._asked = True

    @property
    def asked(self) -> bool:
        """True if Ctrl-Z was pressed and not obeyed yet."""
        return self._asked

    def obey(self) -> None:
        """Stop this process; returns when it is continued, by `fg` or `bg`."""
        self._asked = False
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)
        signal.signal(signal.SIGTSTP, self._ask)


class Keyboard:
    """Reads single keys of standard input, where that is a terminal which this process may use.

    On leaving, the terminal is as it was, whatever ended the view.
    """

    def __init__(self) -> None:
        self._fd: int | None = None
        self._before: list[Any] = []

    def __enter__(self) -> Self:
        fd = sys.stdin.fileno() if sys.stdin.isatty() else None
        if termios and fd is not None and in_front(fd):
            self._before, self._fd = termios.tcgetattr(fd), fd
            tty.setcbreak(fd)
        return self

    def __exit__(self, *_: object) -> None:
        fd, self._fd = self._fd, None
        if fd is not None and in_front(fd):
            termios.tcsetattr(fd, termios.TCSADRAIN, self._before)

    @property
    def works(self) -> bool:
        """True if keys can be read."""
        return self._fd is not None

    def wait(self, seconds: float) -> str:
        """Let this time pass; a key ends it. Returns the keys that were pressed."""
        if self._fd is None or not in_front(self._fd):
            time.sleep(seconds)
            return ""
        ready, _, _ = select.select([self._fd], [], [], seconds)
        if not ready:
            return ""
        pressed = os.read(self._fd, 100)
        if not pressed:
            self._fd = None  # hung up: there is nothing to read, for ever
        return pressed.decode(errors="replace")


def in_front(fd: int) -> bool:
    """True if this process may change the terminal; in the background that would stop it."""
    try:
        return os.tcgetpgrp(fd) == os.getpgrp()
    except OSError:
        return False


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Let each ending signal raise KeyboardInterrupt, as Ctrl-C does."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
