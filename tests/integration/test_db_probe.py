"""No call without a way to store its answer: the probing write finds out beforehand."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest

from db.connection import Connection, connect
from db.errors import MigrationMissing, PermissionMissing
from db.probe import can_store
from db.queries import sql
from db.symbols import SymbolRepository
from tests.kit.db_data import CRITICAL, one, run

TABLES = (
    "trading.symbols",
    "market_data.ohlcv_5m",
    "market_data.coverage_days",
    "data_sources.data_sync_status",
    "data_sources.api_calls",
)


@pytest.fixture
def worker(migrated_url: str) -> Iterator[Connection]:
    with connect(migrated_url) as owner:
        SymbolRepository(owner).upsert_many(CRITICAL)
    run(migrated_url, sql("grants"))
    run(migrated_url, "CREATE ROLE prober LOGIN PASSWORD 'prober' IN ROLE assetq_worker")
    parts = urlsplit(migrated_url)
    try:
        url = f"postgresql://prober:prober@{parts.hostname}:{parts.port}{parts.path}"
        with connect(url) as connection:
            yield connection
    finally:
        run(migrated_url, "DROP ROLE prober; DROP OWNED BY assetq_worker; DROP ROLE assetq_worker")


def test_it_leaves_nothing_behind(worker: Connection, migrated_url: str) -> None:
    assert can_store(worker) is None
    assert can_store(worker) is None
    with connect(migrated_url) as owner:
        for table in TABLES[1:]:
            assert one(owner, f"SELECT count(*) FROM {table}") == 0


@pytest.mark.parametrize("table", TABLES)
@pytest.mark.parametrize("right", ["SELECT", "INSERT", "UPDATE"])
def test_a_missing_right_is_found(
    worker: Connection, migrated_url: str, table: str, right: str
) -> None:
    needed = one(worker, "SELECT has_any_column_privilege(%s, %s)", table, right)
    run(migrated_url, f"REVOKE ALL ON {table} FROM assetq_worker")
    others = [r for r in ("SELECT", "INSERT", "UPDATE", "DELETE") if r != right]
    run(migrated_url, f"GRANT {', '.join(others)} ON {table} TO assetq_worker")
    found = can_store(worker)
    assert (found is not None) == needed
    if found:
        assert isinstance(found, PermissionMissing)
        assert table.partition(".")[2] in str(found)
        assert "grants.sql" in str(found)


def test_a_read_only_server_is_found_and_the_connection_given_up(migrated_url: str) -> None:
    name = migrated_url.rpartition("/")[2]
    run(migrated_url, f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    connection = connect(migrated_url)
    found = can_store(connection)
    assert found is not None
    assert found.sqlstate == "25006"
    assert "primary" in str(found)
    assert connection.closed, "a new one may lead to the primary"


@pytest.mark.parametrize("table", TABLES[:4])
def test_a_locked_table_is_found(migrated_url: str, table: str) -> None:
    with (
        connect(migrated_url, lock_timeout_s=0.1) as connection,
        connect(migrated_url) as other,
        other.transaction(),
    ):
        other.execute(f"LOCK TABLE {table} IN SHARE MODE".encode())
        found = can_store(connection)
        assert found is not None
        assert "lock timeout" in str(found)


def test_a_full_disk_is_found(migrated_url: str) -> None:
    run(
        migrated_url,
        """
        CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100';
        END $$;
        CREATE TRIGGER full_disk BEFORE INSERT ON data_sources.api_calls
            FOR EACH ROW EXECUTE FUNCTION full_disk();
        """,
    )
    with connect(migrated_url) as connection:
        assert "Free space" in str(can_store(connection))


@pytest.mark.parametrize("table", TABLES)
def test_a_dropped_table_is_found(migrated_url: str, table: str) -> None:
    run(migrated_url, f"DROP TABLE {table} CASCADE")
    with connect(migrated_url) as connection, pytest.raises(MigrationMissing):
        can_store(connection)


def test_a_lost_key_is_found(migrated_url: str) -> None:
    run(migrated_url, "ALTER TABLE market_data.ohlcv_5m DROP CONSTRAINT ohlcv_5m_pkey")
    with connect(migrated_url) as connection:
        assert "ON CONFLICT" in str(can_store(connection))


def test_rules_of_the_audit_table_do_not_matter(migrated_url: str) -> None:
    run(migrated_url, "ALTER TABLE data_sources.api_calls ADD CHECK (length(endpoint) > 1)")
    with connect(migrated_url) as connection:
        assert can_store(connection) is None
