"""Other programs on the same server: poolers, sessions, encodings, defaults, idle cuts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql

from db.calls import CallLog
from db.compatibility import problems
from db.connection import Connection, connect, living, ping, unit_of_work
from db.errors import DatabaseUnavailable, IncompatibleSchema
from db.migrate import migrate, pending_on
from db.probe import can_store
from db.providers import ProviderRepository
from db.refresh import RefreshWriter
from db.symbols import SymbolRepository
from local.servers.postgres import PostgresServer
from tests.kit.db_data import CRITICAL, ETH, NOON, bar, call, one, refresh, rows, run
from tests.kit.waiting import eventually


@pytest.fixture
def connection(migrated_url: str) -> Iterator[Connection]:
    with connect(migrated_url) as connection:
        SymbolRepository(connection).upsert_many([*CRITICAL, ETH])
        yield connection


WORK: dict[str, Callable[[Connection], object]] = {
    "write": lambda c: RefreshWriter(c).write(1_000, call(), [refresh("XAUUSD", bars=[bar()])]),
    "import": lambda c: SymbolRepository(c).upsert_many(CRITICAL),
    "list": lambda c: SymbolRepository(c).stalest(),
    "swap": lambda c: ProviderRepository(c).swap_last_active(),
    "prune": lambda c: CallLog(c).prune(),
    "probe": can_store,
    "pending": pending_on,
    "ping": ping,
}


@pytest.mark.parametrize("work", WORK.values(), ids=WORK.keys())
def test_nothing_is_left_in_a_session(
    connection: Connection, work: Callable[[Connection], object]
) -> None:
    """A pooler in transaction mode hands the session to another program after each transaction."""
    work(connection)
    ours = "SELECT name FROM pg_settings WHERE source = 'session' AND name <> 'client_encoding'"
    assert rows(connection, ours) == []
    locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
    assert one(connection, locks) == 0


def test_nothing_is_left_after_a_failure(connection: Connection) -> None:
    connection.execute("ALTER TABLE trading.symbols ADD CHECK (metadata IS NULL)")
    assert RefreshWriter(connection).write(1_000, call(), [refresh("XAUUSD")]).refused
    assert rows(connection, "SELECT name FROM pg_settings WHERE source = 'session'") == []


def test_another_program_on_our_session_keeps_its_own_limits(connection: Connection) -> None:
    """Two clients take turns on one server connection."""
    connection.execute("SET statement_timeout = '1234ms'")
    connection.execute("SET TimeZone = 'Asia/Tokyo'")
    RefreshWriter(connection).write(1_000, call(), [refresh("XAUUSD")])
    with unit_of_work(connection):
        assert one(connection, "SHOW statement_timeout") == "15s"
    assert one(connection, "SHOW statement_timeout") == "1234ms"
    assert one(connection, "SHOW TimeZone") == "Asia/Tokyo"


@pytest.mark.parametrize(
    "default",
    [
        "TimeZone = 'America/Lima'",
        "DateStyle = 'German'",
        "DateStyle = 'SQL, DMY'",
        "IntervalStyle = 'iso_8601'",
        "IntervalStyle = 'sql_standard'",
        "standard_conforming_strings = off",
        "array_nulls = off",
        "transform_null_equals = on",
        "client_encoding = 'LATIN1'",
        "default_transaction_isolation = 'serializable'",
        "search_path = 'trading'",
        "bytea_output = 'escape'",
    ],
)
def test_defaults_of_the_database_change_nothing(migrated_url: str, default: str) -> None:
    name = migrated_url.rpartition("/")[2]
    run(migrated_url, f"ALTER DATABASE {name} SET {default}")
    with connect(migrated_url) as connection:
        SymbolRepository(connection).upsert_many([*CRITICAL, ETH])
        item = refresh("XAUUSD", bars=[bar()])
        reason = "ungültig: 価格"
        result = RefreshWriter(connection).write(1_000, call(), [item], [("EURUSD", reason)])
        assert (result.changed, result.bars_written) == (("XAUUSD",), 1)
        [gold] = [a for a in SymbolRepository(connection).list() if a.symbol == "XAUUSD"]
        assert gold.as_of == NOON
        assert gold.updated_at is not None
        assert abs(gold.updated_at - datetime.now(UTC)) < timedelta(minutes=1)
        assert one(connection, "SELECT ts = %s FROM market_data.ohlcv_5m", NOON)
        assert one(connection, "SELECT as_of = %s FROM trading.latest_prices", NOON)
        assert ProviderRepository(connection).swap_last_active() is None
        assert ProviderRepository(connection).swap_last_active() is not None
        errors = "SELECT error FROM data_sources.data_sync_status WHERE error IS NOT NULL"
        assert one(connection, errors) == reason


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "EUC_JP"])
def test_the_environments_encoding_changes_nothing(
    database_url: str, monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    monkeypatch.setenv("PGCLIENTENCODING", encoding)
    assert migrate(database_url)
    with connect(database_url + "?client_encoding=" + encoding) as connection:
        SymbolRepository(connection).upsert_many(CRITICAL)
        RefreshWriter(connection).write(1_000, call(), [], [("EURUSD", "価格")])
        assert one(connection, "SELECT error FROM data_sources.data_sync_status") == "価格"


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "WIN1252", "EUC_JP"])
def test_a_database_that_cannot_hold_every_text_is_named(
    pg_server: PostgresServer, encoding: str
) -> None:
    name = f"enc_{encoding.lower()}"
    create = sql.SQL(
        "CREATE DATABASE {} ENCODING {} LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    ).format(sql.Identifier(name), sql.Literal(encoding))
    with psycopg.connect(pg_server.url("postgres"), autocommit=True) as owner:
        owner.execute(create)
        try:
            with pytest.raises(IncompatibleSchema, match=f"encoding is {encoding}.*UTF8"):
                migrate(pg_server.url(name))
            with connect(pg_server.url(name)) as connection:
                assert [encoding in problem for problem in problems(connection)] == [True]
        finally:
            owner.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def cut(url: str, connection: Connection) -> None:
    """Ends the session on the server, and waits until it is gone."""
    pid = connection.info.backend_pid
    with connect(url) as other:
        other.execute("SELECT pg_terminate_backend(%s)", (pid,))
        gone = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %s)"
        eventually(lambda: one(other, gone, pid))


def test_an_idle_cut_is_no_outage(migrated_url: str) -> None:
    made: list[Connection] = []

    def reconnect() -> Connection:
        made.append(connect(migrated_url))
        return made[-1]

    with connect(migrated_url) as connection:
        assert living(connection, reconnect) is connection
        connection.execute("SET idle_session_timeout = '50ms'")
        pid = connection.info.backend_pid
        with connect(migrated_url) as other:
            gone = "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = %s)"
            eventually(lambda: one(other, gone, pid))
        fresh = living(connection, reconnect)
        assert [fresh] == made
        assert connection.closed
        ping(fresh)
        cut(migrated_url, fresh)
        assert living(fresh, reconnect) is made[1]
        made[1].close()


def test_a_server_that_is_gone_is_an_outage(database_url: str) -> None:
    def reconnect() -> Connection:
        return connect("postgresql://nobody@127.0.0.1:1/none")

    connection = connect(database_url)
    cut(database_url, connection)
    with pytest.raises(DatabaseUnavailable, match="Start PostgreSQL"):
        living(connection, reconnect)


def test_the_providers_row_held_by_another_program_stops_nobody(
    connection: Connection, migrated_url: str
) -> None:
    providers = ProviderRepository(connection)
    assert providers.swap_last_active() is None
    with connect(migrated_url) as other, other.transaction():
        other.execute("SELECT FROM data_sources.api_providers FOR UPDATE")
        began = time.monotonic()
        assert providers.swap_last_active() == timedelta(0), "as if called just now"
        assert time.monotonic() - began < 3
        assert RefreshWriter(connection).write(1_000, call(), [refresh("XAUUSD")]).changed
    ago = providers.swap_last_active()
    assert ago is not None
    assert ago > timedelta(0)


def test_the_audit_tells_of_calls_where_the_providers_row_does_not(
    connection: Connection,
) -> None:
    providers = ProviderRepository(connection)
    assert providers.last_active_ago() is None
    before = datetime.now(UTC) - timedelta(hours=1)
    RefreshWriter(connection).write(1_000, call(started_at=before), [refresh("XAUUSD")])
    ago = providers.last_active_ago()
    assert ago is not None
    assert timedelta(minutes=59) < ago < timedelta(minutes=61)


@pytest.mark.parametrize("value", ["infinity", "-infinity", "0044-03-15 BC", "294275-01-01"])
def test_an_odd_last_active_at_is_survived(connection: Connection, value: str) -> None:
    set_it: Any = "UPDATE data_sources.api_providers SET last_active_at = %s"
    connection.execute(set_it, (value,))
    ProviderRepository(connection).last_active_ago()
    ProviderRepository(connection).swap_last_active()
    ago = ProviderRepository(connection).swap_last_active()
    assert ago is not None
    assert ago < timedelta(minutes=1)
