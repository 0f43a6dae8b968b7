"""The launcher's side of the keeper: start processes in it, hear what happens to them, end it."""

from __future__ import annotations

import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local.servers.errors import EmbeddedError, StartFailed
from local.servers.process import Command, is_alive

_ANSWER_TIMEOUT_S = 30.0


class KeeperGone(EmbeddedError):
    """The process that watches over everything ended by itself; see the keeper's log."""

    def __init__(self) -> None:
        super().__init__(self.__doc__)


@dataclass(frozen=True)
class Event:
    """Something happened to a process. `code` is its exit code (negative: a signal)."""

    event: str
    name: str = ""
    pid: int | None = None
    code: int | None = None
    restart_in_s: float | None = None
    killed: bool = False
    reason: str = ""


class Kept:
    """A process that the keeper started. `pid` follows its restarts."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.code: int | None = None

    def exit_code(self) -> int | None:
        """Return its exit code; None while it runs."""
        return self.code


class KeeperClient:
    """Starts the keeper. `keep_open` are descriptors that it holds as long as it lives (the lock).

    The end of this process, however it comes, closes the pipe and so stops everything.
    """

    def __init__(self, run_dir: Path, log: Path, keep_open: Sequence[int] = ()) -> None:
        with log.open("ab") as stderr:
            self._popen = subprocess.Popen(
                [sys.executable, "-m", "local.servers.keeper", str(run_dir / "processes.json")],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
                pass_fds=keep_open,
            )
        self.events: queue.Queue[Event] = queue.Queue()  # for the launcher to show
        self._answers: queue.Queue[Event] = queue.Queue()
        self._kept: dict[str, Kept] = {}
        self._reader = threading.Thread(target=self._listen, name="keeper-events", daemon=True)
        self._reader.start()

    @property
    def alive(self) -> bool:
        """True while the keeper runs."""
        return self._popen.poll() is None

    @property
    def pid(self) -> int:
        """The process of the keeper."""
        return self._popen.pid

    def spawn(self, command: Command) -> Kept:
        """Start it in the keeper. Raises StartFailed, KeeperGone."""
        fields = {**vars(command), "env": dict(command.env)}
        self._send(
            {"op": "start", "command": {**fields, "log": str(command.log), "cwd": str(command.cwd)}}
        )
        try:
            answer = self._answers.get(timeout=_ANSWER_TIMEOUT_S)
        except queue.Empty:
            raise KeeperGone from None
        if answer.event == "failed":
            raise StartFailed(command.name, answer.reason, str(command.log))
        return self._kept[command.name]

    def keep(self, name: str) -> None:
        """Let the keeper start `name` again whenever it dies: after 1 s, then 2, 4, … 30 s."""
        self._send({"op": "keep", "name": name})

    def stop(self, on_event: Callable[[Event], None] = lambda _: None) -> bool:
        """Stop everything in order and wait for it. True if nothing had to be killed."""
        orderly = True
        if self.alive:
            self._send({"op": "stop"})
        while self._reader.is_alive() or not self.events.empty():
            try:
                event = self.events.get(timeout=0.1)
            except queue.Empty:
                continue
            orderly = orderly and not event.killed
            on_event(event)
        assert self._popen.stdin is not None
        self._popen.stdin.close()
        self._popen.wait()
        return orderly and self._popen.returncode == 0

    def _send(self, request: dict[str, Any]) -> None:
        assert self._popen.stdin is not None
        try:
            self._popen.stdin.write(json.dumps(request).encode() + b"\n")
            self._popen.stdin.flush()
        except BrokenPipeError:
            raise KeeperGone from None

    def _listen(self) -> None:
        assert self._popen.stdout is not None
        for line in self._popen.stdout:
            event = Event(**json.loads(line))
            kept = self._kept.get(event.name)
            if event.event == "started" and event.pid:
                self._kept[event.name] = Kept(event.pid)
            elif event.event == "restarted" and kept and event.pid:
                kept.pid, kept.code = event.pid, None
            elif event.event in ("died", "stopped") and kept:
                kept.code = event.code
            asked = event.event == "started" or (event.event == "failed" and kept is None)
            (self._answers if asked else self.events).put(event)


def holder_of(lock: Path) -> int | None:
    """The process id written into a lock file, if that process lives."""
    try:
        pid = int(lock.read_text())
    except (FileNotFoundError, ValueError):
        return None
    return pid if is_alive(pid) else None
