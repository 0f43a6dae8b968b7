"""Processes that strike themselves down at a named point, as if the host had done it just there.

    python -m tests.kit.dying ORDERS bin/assetq worker  a process of the Procfile
    python -m tests.kit.dying ORDERS stable             forks a process for each line of its input

ORDERS is a directory. A file in it that is named like a Point holds a signal: the first process
that reaches that point takes the file away and sends itself the signal. A file `refresh:SYMBOL`
stays, and kills each process that begins a refresh of that symbol. Leases and locks are shorter
here than in production.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from local.servers.process import dying_with_us
from runtime import failpoints
from runtime.failpoints import Point
from tests.kit.worker import Running, procfile

LEASE_MS = 1_300
"""How long a lease lasts in these processes. An answer may take longer than that on a busy machine:
the lease is prolonged, or another call brings the same."""
LOCK_S = 0.4
STABLE = "stable"
DIED = -int(signal.SIGKILL)


@dataclass(frozen=True)
class Orders:
    """The orders to die, by point."""

    directory: Path

    def give(self, point: Point, what: signal.Signals = signal.SIGKILL) -> None:
        self._write(point.name, str(int(what)))

    def pending(self, point: Point) -> bool:
        return (self.directory / point.name).exists()

    def poison(self, symbol: str) -> None:
        """Refreshing this symbol kills."""
        self._write(f"refresh:{symbol}", "")

    def _write(self, name: str, text: str) -> None:
        self.directory.mkdir(exist_ok=True)
        part = self.directory / f".{name}"
        part.write_text(text)
        part.rename(self.directory / name)

    def obey(self, point: Point) -> None:
        path = self.directory / point.name
        try:
            order = path.read_text()
            path.unlink()
        except FileNotFoundError:  # nothing is ordered, or another process was the first
            return
        os.kill(os.getpid(), int(order))

    def obey_for(self, symbols: Sequence[str]) -> None:
        if any((self.directory / f"refresh:{symbol}").exists() for symbol in symbols):
            os.kill(os.getpid(), signal.SIGKILL)


class Dying(Running):
    """A process of the Procfile that takes orders."""

    def __init__(
        self, root: Path, name: str, env: Mapping[str, str], log: Path, orders: Orders
    ) -> None:
        self.log, self.env = log, dict(env)
        command = [sys.executable, "-m", "tests.kit.dying", str(orders.directory)]
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [*command, *procfile(root, name)],
                cwd=root,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=dying_with_us(),
            )


class Stable:
    """Starts processes of ours within milliseconds: forks of one that has everything loaded."""

    def __init__(self, root: Path, orders: Orders, log: Path) -> None:
        self.orders, self.log = orders, log
        with log.open("ab") as err:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.kit.dying", str(orders.directory), STABLE],
                cwd=root,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=err,
                text=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait(60)

    def run(self, what: str, env: Mapping[str, str], *, dies_after: int = 0) -> int:
        """Runs a tick or a scheduler's pass to its end; the exit code, negative for a signal.

        `dies_after`: it dies after that many commands, to any server.
        """
        assert self._process.stdin
        assert self._process.stdout
        order = {"what": what, "env": dict(env), "dies_after": dies_after}
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


def short_leases() -> None:
    """Let the leases of this process last for LEASE_MS, whatever is allowed for a call."""
    import settings.model

    settings.model.Settings.lease_ms = LEASE_MS  # type: ignore[assignment, method-assign]


def _shorten() -> None:
    import scheduler.process

    short_leases()
    scheduler.process.LOCK_S = LOCK_S  # type: ignore[assignment]


def _listen(orders: Orders) -> None:
    from worker.call import Call
    from worker.refresh import Refresher

    failpoints.on_reached = orders.obey
    refresh = Refresher.refresh

    def deadly(self: Refresher, call: Call) -> Any:
        orders.obey_for([item.symbol for item in call.claimed.items])
        return refresh(self, call)

    Refresher.refresh = deadly  # type: ignore[method-assign]


def _scheduler_pass() -> None:
    from runtime.context import Context
    from runtime.logs import configure
    from scheduler.process import TickScheduler
    from settings import Settings
    from worker.ticks import Ticks

    settings = Settings.load()
    configure(settings)
    with Context.open(settings) as context:
        ticks = Ticks(context.redis, context.keys)
        TickScheduler(context, ticks).run(burst=True)
        ticks.close()


def _die_after(count: int) -> None:
    """SIGKILL right after the n-th command has left: Redis, PostgreSQL or HTTP."""
    import http.client

    import psycopg
    import redis.connection

    left = [count]

    def deadly(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            result = function(*args, **options)
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return call

    for owner, name in (
        (redis.connection.AbstractConnection, "send_packed_command"),
        (psycopg.Cursor, "execute"),
        (http.client.HTTPConnection, "endheaders"),
    ):
        setattr(owner, name, deadly(getattr(owner, name)))


def _stable() -> None:
    from worker import tasks

    known = {
        "batch": tasks.batch,
        "secondary": tasks.secondary,
        "bars": tasks.bars,
        "drain": tasks.drain,
        "scheduler": _scheduler_pass,
    }
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.environ.update(order["env"])
                if order["dies_after"]:
                    _die_after(order["dies_after"])
                known[order["what"]]()
                code = 0
            except BaseException:  # noqa: BLE001 - told, and it ends here
                traceback.print_exc()
            finally:
                os._exit(code)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def main(directory: str, *words: str) -> None:
    _shorten()
    _listen(Orders(Path(directory)))
    if words[0] == STABLE:
        _stable()
    else:
        from cli.main import main as assetq

        assetq(words[1:])


if __name__ == "__main__":
    main(*sys.argv[1:])
