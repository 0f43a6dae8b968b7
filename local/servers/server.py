"""What the embedded servers share: a port, a start that waits until they answer, an end."""

from __future__ import annotations

import importlib.util
import os
import socket
import time
from abc import ABC, abstractmethod
from pathlib import Path

from local.servers.errors import StartFailed
from local.servers.process import Child, Command, Running, Spawn

_PORT_ATTEMPTS = 5
_POLL_S = 0.02


class Server(ABC):
    """A server on a loopback port: `port`, else `prefer_port` if that is free, else any."""

    name = "server"
    start_timeout_s = 60.0

    def __init__(self, *, port: int = 0, prefer_port: int = 0, log: Path) -> None:
        self._port_is_fixed = port != 0
        self.port = port or (prefer_port if port_is_free(prefer_port) else free_port())
        self.log = log
        self._running: Running | None = None

    def prepare(self) -> None:  # noqa: B027 - not every server needs it
        """Make the data directory ready. Called before every start."""

    @abstractmethod
    def command(self) -> Command:
        """The process to run."""

    @abstractmethod
    def answers(self, pid: int) -> bool:
        """True once the process `pid`, and not a stranger on the same port, serves requests."""

    @property
    def is_running(self) -> bool:
        """True while its process runs."""
        return self._running is not None and self._running.exit_code() is None

    @property
    def pid(self) -> int | None:
        """Its process id; None while it does not run."""
        return self._running.pid if self._running is not None and self.is_running else None

    def start(self, spawn: Spawn = Child) -> None:
        """Start and wait until it answers; nothing if it runs already. Raises StartFailed."""
        if self.is_running:
            return
        for attempt in range(_PORT_ATTEMPTS):
            self.prepare()
            self._running = spawn(self.command())
            try:
                self._wait(self._running)
            except StartFailed:
                another = not self._port_is_fixed and not port_is_free(self.port)
                if self.is_running or not another or attempt == _PORT_ATTEMPTS - 1:
                    raise
                self.port = free_port()  # taken between our look and the start
            else:
                return

    def stop(self) -> None:
        """Let it end in order (only for one that `start` made our own child)."""
        if isinstance(self._running, Child):
            self._running.stop()

    def kill(self) -> None:
        """Kill it with SIGKILL, as a crash would."""
        if isinstance(self._running, Child):
            self._running.kill()

    def _wait(self, running: Running) -> None:
        deadline = time.monotonic() + self.start_timeout_s
        while not self.answers(running.pid):
            code = running.exit_code()
            if code is not None:
                reason = last_line(self.log) or f"exit code {code}"
                raise StartFailed(self.name, reason, str(self.log))
            if time.monotonic() > deadline:
                self.kill()
                raise StartFailed(
                    self.name, f"no answer within {self.start_timeout_s:.0f} s", str(self.log)
                )
            time.sleep(_POLL_S)


def free_port() -> int:
    """Return a port of this machine that nothing uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def port_is_free(port: int) -> bool:
    """Tell whether this machine lets us listen there now; 0 is no port."""
    if not port:
        return False
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True


def package_dir(name: str) -> Path | None:
    """The directory of an installed package, found without importing it."""
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).resolve().parent if spec and spec.origin else None


def last_line(log: Path) -> str:
    """The last line of a log that says something, for an error message."""
    if not log.exists():
        return ""
    with log.open("rb") as file:
        file.seek(max(0, os.path.getsize(log) - 4096))
        lines = file.read().decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
