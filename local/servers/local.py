"""A whole local run: the lock, the keeper, and in it servers, sandbox and our own processes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from local.servers.launcher import Event, KeeperClient
from local.servers.postgres import PostgresServer
from local.servers.programs import SandboxProcess, procfile_commands, program_env
from local.servers.server import Server, free_port, port_is_free
from local.servers.state import DataDir
from local.servers.valkey import ValkeyServer
from settings.checkout import ROOT

_WEB_PORT = 8000


class LocalRun:
    """A run as a context manager: takes the data directory, and at the end stops everything in
    order. If this process dies, its keeper does the same.

    `values` are the environment variables that lead to what was started; they are also written to
    the data directory for `assetq` in another terminal. `on_wait` is called when an earlier run is
    still stopping, `on_stop` for every process that ends at the end. Ports stay the same from run
    to run while they are free. Raises EmbeddedError and its subclasses.
    """

    def __init__(
        self,
        data: DataDir,
        on_wait: Callable[[], None] = lambda: None,
        on_stop: Callable[[Event], None] = lambda _: None,
        root: Path = ROOT,
    ) -> None:
        self.data, self.root = data, root
        self.values: dict[str, str] = {}
        self._on_wait, self._on_stop = on_wait, on_stop
        self.orderly: bool | None = None  # known after the end
        self.valkey_before: str | None = None
        """run_id of the Valkey of the last run, if it ended in order."""
        self._last: dict[str, str] = {}

    def __enter__(self) -> Self:
        self.data.create()
        lock = self.data.lock(self._on_wait)
        self._last = self.data.last_environment()
        self.keeper = KeeperClient(self.data.run, self.data.log / "keeper.log", keep_open=(lock,))
        os.close(lock)  # the keeper holds it now, until it ends
        return self

    def __exit__(self, *_: object) -> None:
        self.orderly = self.keeper.stop(self._on_stop)

    def start_valkey(self) -> str:
        """Start it on its last port, if that is free; returns its URL. Raises StartFailed."""
        server = ValkeyServer(
            self.data.valkey, prefer_port=self._last_port("REDIS_URL"), log=self._log("valkey")
        )
        self.valkey_before = server.ended_in_order()
        self._start(server)
        return self._tell("REDIS_URL", server.url)

    def start_postgres(self) -> str:
        """Start it on its last port, if that is free; returns its URL. Raises StartFailed."""
        server = PostgresServer(
            self.data.path,
            prefer_port=self._last_port("DATABASE_URL"),
            log=self._log("postgres"),
        )
        self._start(server)
        return self._tell("DATABASE_URL", server.ensure_database())

    def start_sandbox(self, plan: str, *, limit: int | None, window_s: float) -> str:
        """Starts the sandbox API, with a key of its own; returns its URL."""
        server = SandboxProcess(
            self.root,
            self._log("sandbox"),
            program_env(self.values),
            plan=plan,
            limit=limit,
            window_s=window_s,
            prefer_port=self._last_port("POLYGON_BASE_URL"),
        )
        self._start(server)
        self._tell("MASSIVE_API_KEY", "sandbox")
        return self._tell("POLYGON_BASE_URL", server.url)

    def start_programs(self, workers: int, *, port_is_given: bool) -> str | None:
        """The Procfile's processes. Returns the URL of the pages, None if PORT decides it."""
        url, env = None, {}
        if not port_is_given:
            port = self._last_port("ASSETQ_WEB_URL") or _WEB_PORT
            port = port if port_is_free(port) else free_port()
            url = self._tell("ASSETQ_WEB_URL", f"http://127.0.0.1:{port}")
            given = os.environ.get("GUNICORN_CMD_ARGS", "")
            env["GUNICORN_CMD_ARGS"] = f"{given} --bind=127.0.0.1:{port}".strip()
        env = program_env({**self.values, **env})
        for command in procfile_commands(self.root, self.data.log, env, {"worker": workers}):
            self.keeper.spawn(command)
            self.keeper.keep(command.name)
        return url

    def set(self, name: str, value: str) -> None:
        """Set one more variable for everything started from now on."""
        self._tell(name, value)

    def _start(self, server: Server) -> None:
        server.start(self.keeper.spawn)
        self.keeper.keep(server.name)

    def _tell(self, name: str, value: str) -> str:
        self.values[name] = value
        self.data.write_environment(self.values)
        return value

    def _last_port(self, name: str) -> int:
        with contextlib.suppress(ValueError):  # an edited file: any port will do
            return urlsplit(self._last.get(name, "")).port or 0
        return 0

    def _log(self, name: str) -> Path:
        return self.data.log / f"{name}.log"
