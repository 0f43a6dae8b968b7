"""The whole Procfile under something that starts and ends processes, looked at from outside."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from local.servers.process import all_pids, command_line, dying_with_us
from tests.kit.waiting import eventually

MARK = "FORMATION_OF_THIS_TEST"
END_WITHIN_S = 25.0


@dataclass
class Formation:
    """Processes that know a mark of ours, however deep below what we started they are."""

    root: Path
    env: Mapping[str, str]
    log: Path
    mark: str = field(default_factory=lambda: uuid.uuid4().hex)
    leaders: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, command: Sequence[str], **more: str) -> subprocess.Popen[bytes]:
        """Starts a command in the checkout; its output goes to the log."""
        with self.log.open("ab") as out:
            self.leaders.append(
                subprocess.Popen(
                    command,
                    cwd=self.root,
                    env={**self.env, **more, MARK: self.mark},
                    stdin=subprocess.DEVNULL,
                    stdout=out,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=dying_with_us(),
                )
            )
        return self.leaders[-1]

    def stop(self, *, like_ctrl_c: bool = False) -> list[int]:
        """SIGTERM to the leaders alone, or SIGINT to all in their terminal; the leaders' exit
        codes, once nothing at all is left."""
        for leader in self.leaders:
            if like_ctrl_c:
                os.killpg(leader.pid, signal.SIGINT)
            else:
                leader.terminate()
        codes = [leader.wait(END_WITHIN_S) for leader in self.leaders]
        eventually(lambda: not self.pids(), END_WITHIN_S, what="everything has ended")
        return codes

    def end(self) -> None:
        """Nothing of it stays, however the test went."""
        while pids := self.pids():
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            for leader in self.leaders:
                leader.poll()

    @property
    def output(self) -> str:
        """What all said, without colours."""
        return re.sub(r"\x1b\[[0-9;]*m", "", self.log.read_text(errors="replace"))

    def pids(self) -> list[int]:
        """Everything that runs under our mark."""
        return [pid for pid in all_pids() if self._is_ours(pid)]

    def pid_of(self, kind: str) -> int:
        """The process of a type (`worker`), and not a shell, a child or a launcher around it."""
        lines = {pid: command_line(pid) for pid in self.pids()}
        programs = [
            pid for pid, line in lines.items() if f"assetq {kind}" in line and "python" in line
        ]
        (pid,) = [pid for pid in programs if _parent(pid) not in programs]
        return pid

    def _is_ours(self, pid: int) -> bool:
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes()
            return f"{MARK}={self.mark}".encode() in environment and _state(pid) != "Z"
        except OSError:
            return False


def listening(pids: Sequence[int]) -> set[str]:
    """Addresses (`127.0.0.1:5000`) on which these processes listen, IPv4."""
    sockets = set()
    for pid in pids:
        for entry in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                sockets.add(os.readlink(entry))
            except OSError:
                continue
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[3] == "0A" and f"socket:[{words[9]}]" in sockets:
            address, port = words[1].split(":")
            parts = reversed(bytes.fromhex(address))
            found.add(f"{'.'.join(map(str, parts))}:{int(port, 16)}")
    return found


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
