"""Real servers for the tests. Each xdist worker has its own; a killed pytest takes them along."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import psycopg
import pytest
import redis
from psycopg import sql

from local.servers.postgres import PostgresServer
from local.servers.valkey import ValkeyServer
from tests.kit.ports import own_port
from tests.kit.waiting import clear_of_the_end

if TYPE_CHECKING:
    from local.sandbox import SandboxServer

# What a shell starts in the background ignores Ctrl-C, and so would all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A busy machine is no failure: what takes too long is measured in bench/. A run tries what the one
# before tried; --hypothesis-profile=search looks for other examples.
_PATIENT = hypothesis.settings(
    deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile("assetq", _PATIENT, derandomize=True)
hypothesis.settings.register_profile("search", _PATIENT, derandomize=False)
hypothesis.settings.load_profile("assetq")


# Where a test lies, and how long before the end of a UTC day and of a batch slot none is begun.
_MARGINS_S = {"unit": (1.0, 0.0), "integration": (10.0, 2.0), "acceptance": (60.0, 2.0)}


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Let a test that looks twice at its day, hour or slot find the same. What happens where they
    change is shown by tests that move the clock."""
    of_a_day_s, of_a_slot_s = _MARGINS_S.get(item.path.parent.name, (0.0, 0.0))
    clear_of_the_end(86_400, of_a_day_s)
    clear_of_the_end(300, of_a_slot_s)


@pytest.fixture(scope="session")
def valkey_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ValkeyServer]:
    """A real Valkey with AOF. A test may kill and start it; the next test finds it running."""
    server = ValkeyServer(
        tmp_path_factory.mktemp("valkey"),
        port=own_port(),
        extra=("--enable-debug-command", "local"),
    )
    server.start()
    yield server
    server.kill()


@pytest.fixture
def redis_url(valkey_server: ValkeyServer) -> str:
    """The URL of an empty Valkey."""
    valkey_server.start()
    with redis.Redis.from_url(valkey_server.url) as client:
        client.flushall()
        client.config_resetstat()
    return valkey_server.url


@pytest.fixture
def r(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture(scope="session")
def pg_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    """A real PostgreSQL (fsync off). A test may kill and start it."""
    server = PostgresServer(tmp_path_factory.mktemp("postgres"), port=own_port(), durable=False)
    server.start()
    yield server
    server.stop()  # a killed one would leave its shared memory to the machine for ever


@pytest.fixture
def database_url(pg_server: PostgresServer) -> Iterator[str]:
    """The URL of a fresh empty database."""
    yield from _database(pg_server, template="template1")


@pytest.fixture(scope="session")
def _migrated_template(pg_server: PostgresServer) -> str:
    from db.migrate import migrate

    migrate(pg_server.ensure_database("migrated_template"))
    return "migrated_template"


@pytest.fixture
def migrated_url(pg_server: PostgresServer, _migrated_template: str) -> Iterator[str]:
    """The URL of a fresh database with every migration applied, nothing else."""
    yield from _database(pg_server, template=_migrated_template)


def _database(server: PostgresServer, template: str) -> Iterator[str]:
    server.start()
    name = f"test_{uuid.uuid4().hex[:12]}"
    create = sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
        sql.Identifier(name), sql.Identifier(template)
    )
    _execute(server, create)
    yield server.url(name)
    server.start()  # the test may have killed it
    _execute(server, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _execute(server: PostgresServer, statement: sql.Composed) -> None:
    with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
        connection.execute(statement)


@pytest.fixture
def sandbox() -> Iterator[SandboxServer]:
    """A sandbox API of its own: plan `spec`, 5 calls in 60 s."""
    from local.sandbox import SandboxServer

    server = SandboxServer(plan="spec", port=0)
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def project_root() -> Path:
    return Path(__file__).resolve().parent.parent
