"""What the measurements run on: servers of their own on loopback, and the peers' environment."""

import contextlib
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # peers import this module without assetq's dependencies
    from db.symbols import Asset

ROOT = Path(__file__).resolve().parent.parent
PEERS = ROOT / ".venv-peers"
"""Made by `make peers`: what is compared, and no part of assetq."""


@contextmanager
def server(*options: str) -> Iterator[str]:
    """A Valkey without persistence; its URL."""
    from local.servers.valkey import ValkeyServer

    with tempfile.TemporaryDirectory(prefix="assetq-bench-") as folder:
        valkey = ValkeyServer(Path(folder), extra=("--appendonly", "no", *options))
        valkey.start()
        try:
            yield valkey.url
        finally:
            valkey.kill()


@contextmanager
def database() -> Iterator[str]:
    """A PostgreSQL with assetq's tables; its URL."""
    from db.migrate import migrate
    from local.servers.postgres import PostgresServer

    with tempfile.TemporaryDirectory(prefix="assetq-bench-") as folder:
        os.chmod(folder, 0o755)  # PostgreSQL runs as another user where we are root
        postgres = PostgresServer(Path(folder) / "postgres")
        postgres.start()
        try:
            url = postgres.ensure_database()
            with contextlib.redirect_stdout(sys.stderr):  # tables alone go to stdout
                migrate(url)
            yield url
        finally:
            postgres.stop()


@dataclass(frozen=True)
class Stand:
    """Redis, PostgreSQL with a catalogue, and a provider; `env` is what processes read."""

    redis_url: str
    database_url: str
    provider: str
    env: Mapping[str, str]


@contextmanager
def stand(assets: Sequence["Asset"], sandbox: str = "--plan spec", **env: str) -> Iterator[Stand]:
    """All of them for a while. `sandbox` are options of `python -m local.sandbox`."""
    with (
        server() as redis_url,
        database() as url,
        equipped(redis_url, url, assets, sandbox, **env) as there,
    ):
        yield there


@contextmanager
def equipped(
    redis_url: str, database_url: str, assets: Sequence["Asset"], sandbox: str, **env: str
) -> Iterator[Stand]:
    """Catalogue and provider for servers that stand; the tables are there."""
    from db.connection import connect
    from db.symbols import SymbolRepository

    with connect(database_url) as connection:
        SymbolRepository(connection).upsert_many(assets)
    command = [sys.executable, "-m", "local.sandbox", *shlex.split(sandbox)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        provider = process.stdout.readline().split()[1]
        given = {
            "REDIS_URL": redis_url,
            "DATABASE_URL": database_url,
            "POLYGON_BASE_URL": provider,
            "MASSIVE_API_KEY": "bench",
            "PYTHONPATH": str(ROOT),
        }
        yield Stand(redis_url, database_url, provider, os.environ | given | env)
    finally:
        process.terminate()
        process.wait(10)


@contextmanager
def processes(
    commands: Sequence[Sequence[str]], env: Mapping[str, str], *, settle_s: float
) -> Iterator[None]:
    """Those processes, given time to come up; ended by SIGTERM."""
    null = subprocess.DEVNULL
    started = [
        subprocess.Popen(command, env=env, cwd=ROOT, stdout=null, stderr=null)
        for command in commands
    ]
    time.sleep(settle_s)
    try:
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(60)
