"""The keeper: a small process that owns everything `assetq up` starts, and ends it in order.

The launcher tells it over a pipe what to run. When that pipe closes, because the launcher is done
or was killed with SIGKILL, the keeper stops what it owns stage by stage and ends.
So there is one way to stop, and a crash takes the same way as Ctrl-C. The keeper has a session of
its own and ignores Ctrl-C. Should the keeper itself be killed, its children get their stop signal
from the kernel (Linux), without the order.

Lines on stdin:  {"op": "start", "command": {…}} · {"op": "keep", "name": …} · {"op": "stop"}
Lines on stdout: {"event": started | failed | died | restarted | not written | stopping |
                          stopped | done, …}
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.servers.process import Child, Command

_LOOK_S = 0.1
_BACKOFF_FIRST_S = 1.0
_BACKOFF_MAX_S = 30.0
_CALM_S = 60.0  # a process that lived this long starts again with the first backoff


@dataclass
class _Owned:
    child: Child
    started_at_s: float
    kept: bool = False  # start it again when it dies
    backoff_s: float = _BACKOFF_FIRST_S
    restart_at_s: float | None = None
    told_dead: bool = False


class Keeper:
    """Owns the processes; `run` is its whole life.

    It has one thread only: the parent-death signal follows a thread."""

    def __init__(self, listing: Path, commands: int, events: int) -> None:
        self._listing = listing
        self._commands, self._events = commands, events
        self._owned: dict[str, _Owned] = {}
        self._stopping = False
        self._unread = b""

    def run(self) -> None:
        """Obey, and look after what it owns, until told to stop or left alone."""
        for number in (signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            signal.signal(number, lambda *_: None)  # SIG_IGN would be inherited by the children
        signal.signal(signal.SIGTERM, lambda *_: setattr(self, "_stopping", True))
        with selectors.DefaultSelector() as selector:
            selector.register(self._commands, selectors.EVENT_READ)
            while not self._stopping:
                if selector.select(_LOOK_S):
                    self._read()
                self._look_after()
        self._stop_all()
        self._tell("done")

    def _read(self) -> None:
        received = os.read(self._commands, 65536)
        if not received:
            self._stopping = True
            return
        *lines, self._unread = (self._unread + received).split(b"\n")
        for line in lines:
            self._obey(json.loads(line))

    def _obey(self, request: dict[str, Any]) -> None:
        match request["op"]:
            case "start":
                self._start(_command(request["command"]))
            case "keep":
                self._owned[request["name"]].kept = True
            case "stop":
                self._stopping = True

    def _start(self, command: Command) -> None:
        try:
            child = Child(command)
        except OSError as error:
            self._tell("failed", name=command.name, reason=str(error))
            return
        self._owned[command.name] = _Owned(child, time.monotonic())
        self._list()
        self._tell("started", name=command.name, pid=child.pid)

    def _look_after(self) -> None:
        now = time.monotonic()
        for name, owned in self._owned.items():
            code = owned.child.exit_code()
            if code is None:
                continue
            if not owned.told_dead:
                self._bury(name, owned, code, now)
            elif owned.restart_at_s is not None and now >= owned.restart_at_s:
                self._restart(name, owned, now)

    def _bury(self, name: str, owned: _Owned, code: int, now: float) -> None:
        owned.told_dead = True
        owned.child.kill()  # what it forked and left behind
        if owned.kept:
            calm = now - owned.started_at_s >= _CALM_S
            owned.backoff_s = _BACKOFF_FIRST_S if calm else owned.backoff_s
            owned.restart_at_s = now + owned.backoff_s
        self._tell(
            "died", name=name, code=code, restart_in_s=owned.backoff_s if owned.kept else None
        )

    def _restart(self, name: str, owned: _Owned, now: float) -> None:
        try:
            owned.child = Child(owned.child.command)
        except OSError as error:
            owned.restart_at_s = now + _BACKOFF_MAX_S
            self._tell("failed", name=name, reason=str(error))
            return
        owned.started_at_s, owned.told_dead, owned.restart_at_s = now, False, None
        owned.backoff_s = min(owned.backoff_s * 2, _BACKOFF_MAX_S)
        self._list()
        self._tell("restarted", name=name, pid=owned.child.pid)

    def _stop_all(self) -> None:
        children = [owned.child for owned in self._owned.values()]
        for stage in sorted({child.command.stage for child in children}):
            together = [child for child in children if child.command.stage == stage]
            for child in together:
                if child.exit_code() is None:
                    self._tell("stopping", name=child.command.name)
                    child.signal(child.command.stop_signal)
            asked_at_s = time.monotonic()
            for child in together:
                left_s = child.command.stop_timeout_s - (time.monotonic() - asked_at_s)
                ended = child.wait_or_kill(max(0.0, left_s))
                code = child.exit_code()
                self._tell("stopped", name=child.command.name, code=code, killed=not ended)
        self._owned.clear()
        self._list()

    def _list(self) -> None:
        """Write down which processes are ours, for people and for the next start. A full disk
        ends none of them."""
        running = {name: owned.child.pid for name, owned in self._owned.items()}
        fresh = self._listing.with_suffix(".new")
        try:
            fresh.write_text(json.dumps({"keeper": os.getpid(), **running}) if running else "{}")
            fresh.replace(self._listing)
        except OSError as error:
            self._tell("not written", name=self._listing.name, reason=str(error))

    def _tell(self, event: str, **fields: Any) -> None:
        line = json.dumps({"event": event, **fields}) + "\n"
        with suppress(BrokenPipeError):  # the launcher is gone
            os.write(self._events, line.encode())


def _command(fields: dict[str, Any]) -> Command:
    paths = {"log": Path(fields["log"]), "cwd": Path(fields["cwd"])}
    return Command(**{**fields, **paths, "argv": tuple(fields["argv"])})


if __name__ == "__main__":
    Keeper(Path(sys.argv[1]), sys.stdin.fileno(), sys.stdout.fileno()).run()
