"""A command in a terminal of its own, as a person sees it."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyte

from local.servers.process import dying_with_us, session_members


class Terminal:
    """Runs a command on a terminal of this size, and reads its screen."""

    def __init__(
        self, command: Sequence[str], cwd: Path, env: Mapping[str, str], width: int, height: int
    ) -> None:
        self.screen = pyte.Screen(width, height)
        self.raw = ""
        self._stream = pyte.ByteStream(self.screen)
        self._master, self._slave = pty.openpty()
        self.resize(width, height)
        self.before = self.modes()
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env={"TERM": "xterm-256color", **env},
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            preexec_fn=_leading(dying_with_us(signal.SIGTERM)),
        )

    def modes(self) -> list[Any]:
        """How the terminal treats its input."""
        return termios.tcgetattr(self._slave)

    def resize(self, width: int, height: int) -> None:
        """Give the terminal another size."""
        size = struct.pack("HHHH", height, width, 0, 0)
        fcntl.ioctl(self._slave, termios.TIOCSWINSZ, size)
        self.screen.resize(height, width)

    def press(self, keys: str) -> None:
        """Type them."""
        os.write(self._master, keys.encode())

    @property
    def lines(self) -> list[str]:
        """What stands on the screen."""
        return [line.rstrip() for line in self.screen.display]

    def until(self, seen: Callable[[list[str]], bool], timeout_s: float = 60.0) -> list[str]:
        """Read until the screen looks like that; returns it."""
        ends_at = time.monotonic() + timeout_s
        while not seen(self.lines):
            assert time.monotonic() < ends_at, "\n".join(self.lines)
            self._read()
        return self.lines

    def wait(self, timeout_s: float = 60.0) -> int:
        """Read on until the command has ended; returns its exit code."""
        ends_at = time.monotonic() + timeout_s
        while self.process.poll() is None:
            assert time.monotonic() < ends_at, "\n".join(self.lines)
            self._read()
        while self._read():  # a read brings a part of what is left
            continue
        return self.process.returncode

    def _read(self) -> bool:
        """Whether something came."""
        ready, _, _ = select.select([self._master], [], [], 0.05)
        if ready:
            told = os.read(self._master, 65_536)
            self.raw += told.decode(errors="replace")
            self._stream.feed(told)
        return bool(ready)

    def close(self) -> None:
        """End everything."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in session_members(self.process.pid):  # jobs of a shell
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        os.close(self._master)
        os.close(self._slave)


def _leading(prepare: Callable[[], None]) -> Callable[[], None]:
    """A `preexec_fn`: the terminal is that of the command, as in a login."""

    def lead() -> None:
        prepare()
        os.setsid()
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)

    return lead
