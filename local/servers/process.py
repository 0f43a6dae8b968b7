"""One child process: how it is started, how it is stopped, and that it never outlives us.

A child gets a session of its own, so that Ctrl-C in a terminal reaches only the launcher, which
then stops everything in order. On Linux a child also gets its stop signal from the kernel when its
parent dies (PDEATHSIG): nothing stays behind, even if the parent is killed with SIGKILL.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None) if sys.platform == "linux" else None
_LOG_MAX_BYTES = 5_000_000


@dataclass(frozen=True)
class Command:
    """What to run and how to end it. `stage` is the order of stopping: small numbers end first."""

    name: str
    argv: tuple[str, ...]
    log: Path
    env: Mapping[str, str] = field(repr=False)  # holds passwords
    cwd: Path = Path("/")
    stop_signal: int = signal.SIGTERM
    stop_timeout_s: float = 25.0
    stage: int = 0


class Running(Protocol):
    """A started process, wherever it was started: as our child, or as the keeper's."""

    @property
    def pid(self) -> int:
        """Its process id."""

    def exit_code(self) -> int | None:
        """None while it runs."""


Spawn = Callable[[Command], Running]


class Child:
    """A child of this process."""

    def __init__(self, command: Command) -> None:
        self.command = command
        command.log.parent.mkdir(parents=True, exist_ok=True)
        _rotate(command.log)
        with command.log.open("ab") as log:
            self._popen = subprocess.Popen(
                command.argv,
                env=dict(command.env),
                cwd=command.cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=dying_with_us(command.stop_signal),
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._popen.pid

    def exit_code(self) -> int | None:
        """Return its exit code; None while it runs."""
        return self._popen.poll()

    def signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self._popen.poll() is None:
            self._popen.send_signal(number)

    def stop(self, timeout_s: float | None = None) -> bool:
        """Ask, wait, then kill whatever is left of its session. True if it ended by itself."""
        self.signal(self.command.stop_signal)
        return self.wait_or_kill(self.command.stop_timeout_s if timeout_s is None else timeout_s)

    def wait(self) -> int:
        """Wait for its end; returns the exit code."""
        return self._popen.wait()

    def wait_or_kill(self, timeout_s: float) -> bool:
        """Wait so long, then kill what is left of its session. True if it ended by itself."""
        with suppress(subprocess.TimeoutExpired):  # the answer is told by the exit code below
            self._popen.wait(timeout_s)
        ended = self._popen.poll() is not None
        self.kill()
        return ended

    def kill(self) -> None:
        """SIGKILL to the process and to everything in its session (a forked work-horse, say)."""
        if self._popen.poll() is None:
            self._popen.kill()
            self._popen.wait()
        for pid in session_members(self.pid):
            with suppress(ProcessLookupError):  # it ended between the listing and the signal
                os.kill(pid, signal.SIGKILL)


def dying_with_us(number: int = signal.SIGKILL) -> Callable[[], None]:
    """A `preexec_fn`: the child gets this signal when we die (Linux)."""
    parent = os.getpid()

    def prepare() -> None:
        if _LIBC is None:
            return
        _LIBC.prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:  # it died before the line above: no signal will come any more
            os._exit(1)

    return prepare


def _rotate(log: Path) -> None:
    if log.exists() and log.stat().st_size > _LOG_MAX_BYTES:
        log.replace(log.with_name(log.name + ".1"))


def all_pids() -> Iterator[int]:
    """Yield the ids of all processes of this machine."""
    proc = Path("/proc/self")
    if proc.exists():
        yield from (int(name) for name in os.listdir("/proc") if name.isdigit())
        return
    listing = subprocess.run(["ps", "-A", "-o", "pid="], capture_output=True, text=True, check=True)
    yield from (int(word) for word in listing.stdout.split())


def is_alive(pid: int) -> bool:
    """Tell whether a process with this id exists, of any user."""
    try:
        os.kill(pid, 0)
    except OSError as error:
        return isinstance(error, PermissionError)
    return True


def session_members(session: int) -> list[int]:
    """Living processes of a session that we started, also after its leader has ended."""
    found = []
    for pid in all_pids():
        with suppress(ProcessLookupError, PermissionError):  # gone, or certainly not ours
            if os.getsid(pid) == session and pid != os.getpid():
                found.append(pid)
    return found


def command_line(pid: int) -> str:
    """The command line of a process, empty if there is none (also for a zombie)."""
    proc = Path(f"/proc/{pid}/cmdline")
    if Path("/proc/self").exists():
        with suppress(OSError):
            return proc.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        return ""
    listing = subprocess.run(
        ["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return listing.stdout.strip()


def stop_orphan(pid: int, must_contain: str, number: int, timeout_s: float = 20.0) -> bool:
    """End a process that an earlier, crashed run left behind. Only if its command line holds
    `must_contain`: a process id may have been given to another program. True if one was ended."""
    if must_contain not in command_line(pid):
        return False
    deadline = time.monotonic() + timeout_s
    with suppress(ProcessLookupError):  # it ended by itself
        os.kill(pid, number)
        while must_contain in command_line(pid):
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)
    return True
