"""What a local run keeps below its data directory, and who may use it.

.data/run/lock            flock, held by the launcher and its keeper; holds the launcher's pid
.data/run/environment     0600: URLs of what runs, so that `assetq` in another terminal finds it
.data/run/processes.json  name → pid, written by the keeper
.data/log/                one log per process
.data/valkey, .data/postgres-MAJOR, .data/postgres.password
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from local.servers.errors import AlreadyRunning
from local.servers.launcher import holder_of
from settings.checkout import DATA

_STILL_STOPPING_S = 90.0


class DataDir:
    """Paths below `.data` (or ASSETQ_DATA_DIR), made on first use."""

    def __init__(self, path: Path | None = None) -> None:
        self.path = (path or Path(os.environ.get("ASSETQ_DATA_DIR") or DATA)).absolute()
        self.run, self.log = self.path / "run", self.path / "log"
        self.valkey = self.path / "valkey"
        self.environment = self.run / "environment"

    def create(self) -> None:
        """Make the directories; what is in them is for this user alone."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.run.mkdir(exist_ok=True, mode=0o700)
        self.log.mkdir(exist_ok=True, mode=0o700)

    def lock(self, on_wait: Callable[[], None] = lambda: None) -> int:
        """Take the data directory for ourselves: an open descriptor that holds the lock until every
        copy of it is closed. If only an earlier run's keeper is left, still stopping things, waits
        for it (`on_wait` is called once). Raises AlreadyRunning."""
        path = self.run / "lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        deadline = time.monotonic() + _STILL_STOPPING_S
        told = False
        while not _try_lock(descriptor, fcntl.LOCK_EX):
            holder = holder_of(path)
            if holder is not None or time.monotonic() > deadline:
                os.close(descriptor)
                raise AlreadyRunning(holder, str(self.path))
            if not told:
                on_wait()
            told = True
            time.sleep(0.1)
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        return descriptor

    def write_environment(self, values: Mapping[str, str]) -> None:
        """Store what commands beside this run need to find it; replaces the file as a whole."""
        fresh = self.environment.with_suffix(".new")
        handle = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(handle, "w") as file:
            json.dump(dict(values), file, indent=1)
        fresh.replace(self.environment)

    def last_environment(self) -> dict[str, str]:
        """What the last run wrote, running or not. Empty if there was none."""
        try:
            values = json.loads(self.environment.read_text())
        except (FileNotFoundError, ValueError):
            return {}
        return {str(key): str(value) for key, value in values.items()}

    def is_running(self) -> bool:
        """True while a run holds the lock."""
        try:
            descriptor = os.open(self.run / "lock", os.O_RDWR)
        except (FileNotFoundError, PermissionError):
            return False
        try:
            return not _try_lock(descriptor, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)


def running_environment(data: DataDir | None = None) -> dict[str, str]:
    """REDIS_URL, DATABASE_URL and so on of the `assetq up` that runs in this clone; empty if none
    does. An entry point adds them below the real environment, before it builds Settings."""
    data = data or DataDir()
    return data.last_environment() if data.is_running() else {}


def _try_lock(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
