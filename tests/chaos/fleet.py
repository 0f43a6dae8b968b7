"""The processes of the Procfile as a host runs them: what ends is started again."""

import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import IO

from local.servers.process import dying_with_us, session_members
from local.servers.programs import read_procfile

ROOT = Path(__file__).resolve().parents[2]
PYTHON = sys.executable
BEGINNER_S = 10.0
"""For that long, on two busy cores, a process has nothing in hand and may end by the signal."""
END_WITHIN_S = 25.0
"""What Heroku leaves a process between SIGTERM and SIGKILL, and a little less."""

Process = subprocess.Popen[bytes]


class Fleet:
    """N workers, one scheduler, and the pages if wanted. Numbers name them: 0 to N - 1,
    `SCHEDULER` and `WEB`."""

    SCHEDULER, WEB = -1, -2

    def __init__(
        self,
        env: Mapping[str, str],
        workers: int,
        log: Path,
        *,
        seed: int = 0,
        skew_s: int = 2,
        web: bool = False,
    ) -> None:
        self._env, self._log = dict(env), log.open("ab")
        self._random = random.Random(seed)
        self._skews = [-skew_s, skew_s]
        self._commands = {n: procfile("worker") for n in range(workers)}
        self._commands[self.SCHEDULER] = procfile("scheduler")
        if web:
            self._commands[self.WEB] = procfile("web")
        self._processes = {n: self._start(command) for n, command in self._commands.items()}
        self._began_s = {p.pid: time.monotonic() for p in self._processes.values()}
        self._leaving: list[tuple[float, Process]] = []
        self._beginners: set[int] = set()
        """Process ids that got SIGTERM while they were starting."""
        self._frozen: set[int] = set()
        self.late: list[str] = []
        """Processes that were not done, with exit code 0, within 25 s of their SIGTERM."""
        self.ended: list[tuple[int, str]] = []
        """(when in ms, which and how): processes that ended although nothing was done to them."""

    def _start(self, command: list[str], log: IO[bytes] | None = None) -> Process:
        env = self._env | {"SOAK_SKEW_S": str(self._random.choice(self._skews))}
        return subprocess.Popen(
            command,
            env=env,
            cwd=ROOT,
            stdout=log or self._log,
            stderr=log or self._log,
            start_new_session=True,
            preexec_fn=dying_with_us(),
        )

    def _again(self, number: int, log: IO[bytes] | None = None) -> None:
        self._processes[number] = self._start(self._commands[number], log)
        self._began_s[self._processes[number].pid] = time.monotonic()

    @property
    def frozen(self) -> set[int]:
        """Process ids that sleep now."""
        return set(self._frozen)

    @property
    def workers(self) -> list[int]:
        """The numbers of the workers."""
        return [number for number in self._commands if number >= 0]

    def horses(self, number: int) -> list[int]:
        """The process ids of a worker's work-horse, if it has one now."""
        return children(self._processes[number].pid)

    def all_horses(self) -> set[int]:
        """Every work-horse of a worker that stands."""
        return {pid for number in self.workers for pid in self.horses(number)}

    def kill(self, number: int, *, with_horses: bool = True) -> None:
        """SIGKILL, and a new one. Without its work-horse that works on as an orphan."""
        victim = self._processes[number]
        for pid in [*(self.horses(number) if with_horses else []), victim.pid]:
            send(pid, signal.SIGKILL)
        victim.wait()
        self._again(number)

    def kill_horse(self, number: int) -> int:
        """SIGKILL for the work-horse alone; how many there were."""
        return sum(send(pid, signal.SIGKILL) for pid in self.horses(number))

    def terminate(self, number: int, log: IO[bytes] | None = None) -> None:
        """SIGTERM, and a new one at once, which writes to `log` if that is given. Its exit code
        must be 0, within 25 s."""
        process = self._processes[number]
        self.thaw([process.pid, *self.horses(number)])
        self._send_sigterm(process)
        self._leaving.append((time.monotonic() + END_WITHIN_S, process))
        self._again(number, log)

    def freeze(self, number: int) -> list[int]:
        """SIGSTOP for a process and its work-horse; returns whom `thaw` wakes."""
        pids = [self._processes[number].pid, *self.horses(number)]
        return [pid for pid in pids if self.freeze_pid(pid)]

    def freeze_pid(self, pid: int) -> bool:
        """SIGSTOP for one process; False if it has just ended."""
        stopped = send(pid, signal.SIGSTOP)
        if stopped:
            self._frozen.add(pid)
        return stopped

    def thaw(self, pids: Iterable[int] | None = None) -> None:
        """SIGCONT for these, or for all."""
        for pid in self._frozen & set(self._frozen if pids is None else pids):
            send(pid, signal.SIGCONT)
            self._frozen.discard(pid)

    def revive(self) -> None:
        """Starts what ended by itself, as any process host does."""
        for deadline, process in list(self._leaving):
            if process.poll() is None and time.monotonic() < deadline:
                continue
            self._leaving.remove((deadline, process))
            self._ended(process, 0.0)
        for number, process in self._processes.items():
            if (code := process.poll()) is not None:
                name = self._commands[number][-1]
                self.ended.append((int(time.time() * 1000), f"{name} ended with {code}"))
                self._again(number)

    def stop(self) -> None:
        """SIGTERM to all at once, as Heroku does; then nothing of them stays."""
        try:
            self._end(list(self._processes.values()))
        finally:
            for session in self._began_s:
                for pid in session_members(session):
                    send(pid, signal.SIGKILL)
            self._log.close()

    def _end(self, processes: list[Process]) -> None:
        self.thaw()
        for process in processes:
            self._send_sigterm(process)
        deadline = time.monotonic() + END_WITHIN_S
        for process in [*processes, *(process for _, process in self._leaving)]:
            self._ended(process, max(0.0, deadline - time.monotonic()))

    def _send_sigterm(self, process: Process) -> None:
        if time.monotonic() - self._began_s[process.pid] < BEGINNER_S:
            self._beginners.add(process.pid)
        process.send_signal(signal.SIGTERM)

    def _ended(self, process: Process, within_s: float) -> None:
        """Notes how it took its SIGTERM."""
        words = process.args if isinstance(process.args, list) else [process.args]
        name = " ".join(str(word) for word in words[1:3])
        try:
            code = process.wait(within_s)
        except subprocess.TimeoutExpired:
            self.late.append(f"{name} had not ended 25 s after SIGTERM")
            for pid in session_members(process.pid):
                send(pid, signal.SIGKILL)
            process.wait()
        else:
            if code and not (code == -signal.SIGTERM and process.pid in self._beginners):
                self.late.append(f"{name} ended with {code} after SIGTERM")


def send(pid: int, number: int) -> bool:
    """Signals a process; False if it has just ended."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return False
    return True


def procfile(process: str) -> list[str]:
    """The command of one process type, run by this interpreter."""
    return [PYTHON, *shlex.split(read_procfile(ROOT / "Procfile")[process])]


def children(pid: int) -> list[int]:
    """The direct children of a process."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [int(word) for word in text.split()]
