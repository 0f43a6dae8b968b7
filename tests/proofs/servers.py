"""Real servers on a clock that is moved: Valkey, PostgreSQL, and this process itself."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Self

import redis

from local.servers.postgres import PostgresServer
from local.servers.process import Command
from local.servers.valkey import ValkeyServer
from tests.chaos.clock import Clock


class ClockedValkey(ValkeyServer):
    """A Valkey on this process' clock."""

    def command(self) -> Command:
        command = super().command()
        names = ("LD_PRELOAD", "CLOCK_STEP_FILE")
        return replace(command, env={**command.env, **{name: os.environ[name] for name in names}})


def run_on_a_clock_of_its_own(folder: Path) -> int:
    """Run this process' command anew on a clock that can be set; returns its exit code."""
    return subprocess.call(sys.orig_argv, env=os.environ | Clock(folder).env)


def own_clock() -> Clock | None:
    """The clock of this process and all that it starts; None: it has the right time."""
    file = os.environ.get("CLOCK_STEP_FILE")
    return Clock(Path(file).parent) if file else None


def set_clock(clock: Clock, at: datetime) -> None:
    """Set the clock of this process and of all that it started."""
    clock.step(clock.ahead_s + math.ceil(at.timestamp() - time.time()))


@dataclass
class Servers:
    """Valkey and PostgreSQL on the moved clock, for one world after the other."""

    clock: Clock
    valkey: ClockedValkey
    postgres: PostgresServer
    _worlds: int = 0

    @classmethod
    @contextmanager
    def start(cls, folder: Path, clock: Clock) -> Iterator[Self]:
        valkey = ClockedValkey(folder / "valkey")
        postgres = PostgresServer(folder / "postgres", durable=False)
        with ExitStack() as stack:
            for server in (valkey, postgres):
                server.start()
                stack.callback(server.stop)
            yield cls(clock, valkey, postgres)

    def empty(self) -> tuple[str, str]:
        """The URLs of an empty Valkey and a new database."""
        with redis.Redis.from_url(self.valkey.url) as client:
            client.flushall()
        self._worlds += 1
        return self.valkey.url, self.postgres.ensure_database(f"world_{self._worlds}")
