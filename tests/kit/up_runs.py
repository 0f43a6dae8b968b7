"""Running `assetq up` as a user would: as a process, in a data directory of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from local.servers.process import all_pids, command_line, dying_with_us
from tests.kit.waiting import eventually

# What a developer's shell may hold, and a user's clone does not.
_NOT_OURS = (
    *("MASSIVE_", "POLYGON_", "REDIS_", "DATABASE_", "DB_"),
    *("RATE_", "BATCH_", "ASSETQ_", "PORT"),
)


def clean_env(data: Path, **more: str) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith(_NOT_OURS)}
    return {**env, "ASSETQ_DATA_DIR": str(data), "PYTHONUNBUFFERED": "1", **more}


class UpRun:
    """An `assetq up` that runs: its output so far, its processes."""

    def __init__(
        self,
        root: Path,
        data: Path,
        *options: str,
        prefix: Sequence[str] = (),
        python: str = sys.executable,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.data = data
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            [*prefix, python, "-m", "cli", "up", *options],
            cwd=root,
            env=dict(env or clean_env(data)),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=dying_with_us(signal.SIGTERM),
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(line.rstrip("\n") for line in self.process.stdout)

    @property
    def output(self) -> str:
        return "\n".join(self.lines)

    def until_refreshed(self, symbols: Iterable[str]) -> None:
        """Wait until a price of each is told."""
        wanted = set(symbols)
        eventually(lambda: refreshed(self.lines) >= wanted, 120, what=f"prices of {wanted}")

    def until(self, text: str, timeout_s: float = 60.0) -> None:
        """Wait for a line with this text; fails early with all output if the run ended."""

        def seen() -> bool:
            found = any(text in line for line in self.lines)
            if not found and self.process.poll() is not None:
                self._reader.join(5)
                raise RuntimeError(f"ended with {self.process.returncode}:\n{self.output}")
            return found

        eventually(seen, timeout_s, what=f"a line with {text!r}")

    def wait(self, timeout_s: float = 60.0) -> int:
        code = self.process.wait(timeout_s)
        self._reader.join(5)
        return code

    def press_ctrl_c(self) -> None:
        """The signal that a terminal sends to all that run in it."""
        os.killpg(self.process.pid, signal.SIGINT)

    def pids(self) -> dict[str, int]:
        """Name → pid of everything that it has started."""
        return dict(json.loads((self.data / "run" / "processes.json").read_text()))

    def end(self) -> None:
        """Whatever the test did, nothing of it stays."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        eventually(lambda: not left_running(self.data), 60, what="everything has ended")


def refreshed(lines: Iterable[str]) -> set[str]:
    """The symbols whose prices are told; other lines may name others, as "next: BTCUSD now"."""
    told = (re.match(r"\d\d:\d\d:\d\d (\S+) +[\d.]+  ", line) for line in lines)
    return {one[1] for one in told if one}


def left_running(data: Path) -> list[str]:
    """Command lines that name this data directory, or have it in their environment."""
    needle = f"ASSETQ_DATA_DIR={data}".encode()
    found = []
    for pid in all_pids():
        try:
            environment = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        except OSError:
            environment = []
        line = command_line(pid)
        if line and pid != os.getpid() and (str(data) in line or needle in environment):
            found.append(f"{pid} {line}")
    return found
