"""Migrations: on nothing, on a user's own tables, twice, at once, and where they cannot go."""

from __future__ import annotations

import threading
from urllib.parse import urlsplit

import pytest

from db.connection import connect
from db.errors import (
    IncompatibleSchema,
    MigrationMissing,
    MigrationRunning,
    PermissionMissing,
    SymbolRejected,
)
from db.migrate import migrate, pending, require_current_schema
from db.symbols import SymbolRepository
from tests.kit.db_data import CRITICAL, INTEGER_IDS, UUID_IDS, one, rows, run

ALL = [
    "0001-symbols",
    "0002-bars",
    "0003-data-sources",
    "0004-daily-bars",
    "0005-coverage",
    "0008-hours",
    "0011-views",
]


def test_a_fresh_database_and_again(database_url: str) -> None:
    assert pending(database_url) == ALL
    assert migrate(database_url) == ALL
    assert migrate(database_url) == []
    assert pending(database_url) == []
    with connect(database_url) as connection:
        require_current_schema(connection)
        assert rows(connection, "SELECT code, name FROM data_sources.api_providers") == [
            ("polygon", "Massive (Polygon.io)")
        ]
        public = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        assert one(connection, public) == 0, "its books are in a schema of their own"


def test_reading_what_is_pending_writes_nothing(database_url: str) -> None:
    pending(database_url)
    with connect(database_url) as connection:
        with pytest.raises(MigrationMissing, match=r"0001-symbols.*assetq migrate"):
            require_current_schema(connection)
        assert one(connection, "SELECT to_regnamespace('assetq')::text") is None


def test_a_missing_migration_is_told(database_url: str) -> None:
    with (
        connect(database_url) as connection,
        pytest.raises(MigrationMissing, match=r"trading\.symbols.*assetq migrate"),
    ):
        SymbolRepository(connection).list()


@pytest.mark.parametrize("lost", ["DELETE FROM", "DROP TABLE"])
def test_every_migration_may_run_twice(migrated_url: str, lost: str) -> None:
    """The files are idempotent, whatever the bookkeeping has lost."""
    run(migrated_url, f"{lost} assetq.migrations")
    assert migrate(migrated_url) == ALL


def test_several_at_once(database_url: str) -> None:
    url = database_url.replace("postgresql://", "postgres://") + "?sslmode=prefer"
    results: list[list[str]] = []
    threads = [threading.Thread(target=lambda: results.append(migrate(url))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(results) == [[], [], [], [], [], ALL]


def test_the_lock_of_a_dead_migration_is_free_and_that_of_a_living_one_is_told(
    database_url: str,
) -> None:
    holder = connect(database_url)
    holder.execute("SELECT pg_advisory_lock(107148485162097)")
    with pytest.raises(MigrationRunning, match="Another `assetq migrate`"):
        migrate(database_url, wait_s=0.2)
    holder.close()  # as when its process dies
    assert migrate(database_url, wait_s=60) == ALL


@pytest.mark.parametrize(
    ("tables", "id_type"), [(INTEGER_IDS, "integer"), (UUID_IDS, "uuid")], ids=["integer", "uuid"]
)
def test_a_users_own_symbols_stay_as_they_are(database_url: str, tables: str, id_type: str) -> None:
    run(database_url, tables)
    with connect(database_url) as connection:
        before = rows(
            connection, "SELECT id, symbol, exchange FROM trading.symbols ORDER BY symbol"
        )
        migrate(database_url)
        after = rows(connection, "SELECT id, symbol, exchange FROM trading.symbols ORDER BY symbol")
        assert after == before
        for relation, column in (
            ("market_data.ohlcv_5m", "symbol_id"),
            ("data_sources.data_sync_status", "ticker_id"),
        ):
            query = (
                "SELECT format_type(atttypid, NULL) FROM pg_attribute "
                "WHERE attrelid = %s::regclass AND attname = %s"
            )
            assert one(connection, query, relation, column) == id_type
        unknown = "SELECT DISTINCT created_at IS NULL FROM trading.symbols"
        assert one(connection, unknown) is True, "no invented creation dates"
        assert SymbolRepository(connection).list() == (), "rows without a ticker are the user's"


def test_a_users_own_unique_index_is_used(database_url: str) -> None:
    run(database_url, INTEGER_IDS)
    migrate(database_url)
    with connect(database_url) as connection:
        assert one(connection, "SELECT to_regclass('trading.assetq_symbols_symbol')") is None


def test_a_partial_unique_index_does_not_count(database_url: str) -> None:
    run(database_url, UUID_IDS)
    run(database_url, "CREATE UNIQUE INDEX x ON trading.symbols (symbol) WHERE is_active")
    migrate(database_url)
    with connect(database_url) as connection:
        assert one(connection, "SELECT to_regclass('trading.assetq_symbols_symbol')") is not None
        assert SymbolRepository(connection).upsert_many([]).inserted == 0


def test_users_own_other_tables_are_completed(database_url: str) -> None:
    run(database_url, INTEGER_IDS)
    run(
        database_url,
        """
        CREATE SCHEMA data_sources;
        CREATE TABLE data_sources.api_providers
            (id serial PRIMARY KEY, code text UNIQUE, base_url text NOT NULL);
        INSERT INTO data_sources.api_providers (code, base_url) VALUES ('polygon', 'https://x');
        CREATE TABLE data_sources.data_sync_status (
            id serial PRIMARY KEY, ticker_id int, provider_id int,
            last_sync_timestamp timestamptz, sync_status varchar(20));
        CREATE SCHEMA market_data;
        CREATE TABLE market_data.ohlcv_5m (
            symbol_id int, ts timestamptz, open double precision, high double precision,
            low double precision, close double precision, volume double precision,
            PRIMARY KEY (ts, symbol_id));
        INSERT INTO market_data.ohlcv_5m VALUES (1, '2020-01-01', 1, 1, 1, 1, 1);
        """,
    )
    migrate(database_url)
    with connect(database_url) as connection:
        assert rows(connection, "SELECT code, base_url, name FROM data_sources.api_providers") == [
            ("polygon", "https://x", None)
        ]
        assert one(connection, "SELECT open FROM market_data.ohlcv_5m") == 1
        own = "SELECT to_regclass('market_data.assetq_ohlcv_5m_symbol_ts')"
        assert one(connection, own) is None
        own = "SELECT to_regclass('data_sources.assetq_data_sync_status_key')"
        assert one(connection, own) is not None


@pytest.mark.parametrize(
    ("tables", "expected"),
    [
        ("CREATE TABLE trading.symbols (ticker text)", "no column 'id'.*no column 'symbol'"),
        (
            "CREATE TABLE trading.symbols (id int, symbol int)",
            "symbol is integer, and assetq needs",
        ),
        (
            "CREATE TABLE trading.symbols (id int, symbol text, metadata json)",
            "metadata is json, and assetq needs jsonb",
        ),
        (
            "CREATE TABLE trading.symbols (id int NOT NULL, symbol text);"
            "INSERT INTO trading.symbols VALUES (1, 'TWICE'), (2, 'TWICE')",
            "TWICE more than once",
        ),
        ("CREATE VIEW trading.symbols AS SELECT 1 AS id, 'x' AS symbol", "is not a table"),
        (
            "CREATE TABLE trading.symbols (id int, symbol text);"
            "CREATE SCHEMA market_data;"
            "CREATE TABLE market_data.ohlcv_5m (ticker int NOT NULL, timestamp timestamptz)",
            "requires ticker, which assetq does not fill",
        ),
        (
            "CREATE TABLE trading.symbols (id uuid NOT NULL, symbol text);"
            "CREATE SCHEMA market_data;"
            "CREATE TABLE market_data.ohlcv_5m (symbol_id int, ts timestamptz)",
            "symbol_id is integer, but trading.symbols.id is uuid",
        ),
        (
            "CREATE TABLE trading.symbols (id uuid NOT NULL, symbol text);"
            "CREATE SCHEMA data_sources;"
            "CREATE TABLE data_sources.api_providers (id int NOT NULL, code text)",
            "id has no default",
        ),
        ("CREATE TABLE trading.symbols (id int, symbol text)", "id stays NULL in new rows"),
        (
            "CREATE TABLE trading.symbols (id serial,"
            " symbol text CONSTRAINT mine UNIQUE DEFERRABLE)",
            "constraint mine of trading.symbols is DEFERRABLE",
        ),
        (
            "CREATE TABLE trading.symbols (id serial, symbol text);"
            "CREATE SCHEMA data_sources;"
            "CREATE TABLE data_sources.api_providers (id serial, code text);"
            "CREATE TABLE data_sources.data_sync_status (ticker_id int, provider_id int,"
            " UNIQUE (ticker_id, provider_id) DEFERRABLE)",
            "of data_sources.data_sync_status is DEFERRABLE",
        ),
        (
            "CREATE TABLE trading.symbols (id serial, symbol text,"
            " polygon_ticker text GENERATED ALWAYS AS ('C:' || symbol) STORED)",
            "polygon_ticker is a generated column",
        ),
    ],
)
def test_tables_that_do_not_fit_are_named_and_nothing_is_changed(
    database_url: str, tables: str, expected: str
) -> None:
    run(database_url, "CREATE SCHEMA trading;" + tables)
    with pytest.raises(IncompatibleSchema, match=expected):
        migrate(database_url)
    with connect(database_url) as connection:
        assert one(connection, "SELECT to_regnamespace('assetq')::text") is None


def test_a_user_without_rights_is_told_so(database_url: str) -> None:
    parts = urlsplit(database_url)
    run(database_url, "CREATE ROLE weak LOGIN PASSWORD 'weak'")
    try:
        with pytest.raises(PermissionMissing, match=r"permission denied.*owner"):
            migrate(f"postgresql://weak:weak@{parts.hostname}:{parts.port}{parts.path}")
    finally:
        run(database_url, "DROP ROLE weak")


def test_a_strict_column_of_the_users_is_named_at_import(database_url: str) -> None:
    run(database_url, UUID_IDS)  # exchange is NOT NULL without default
    migrate(database_url)
    with connect(database_url) as connection:
        repository = SymbolRepository(connection)
        with pytest.raises(SymbolRejected, match=r'"exchange".*Give that column a default'):
            repository.upsert_many(CRITICAL)
        assert repository.list() == (), "all or nothing"
        gold = CRITICAL[:1]
        assert repository.upsert_many(gold).updated == 1, "a row that exists is completed"
        assert [asset.symbol for asset in repository.list(band=1)] == ["XAUUSD"]


def test_views_that_were_dropped_to_change_a_column_are_made_again(migrated_url: str) -> None:
    views = "market_data.ohlcv_15m, market_data.ohlcv_1h, market_data.ohlcv_4h"
    run(
        migrated_url,
        f"DROP VIEW {views}, market_data.ohlcv_1d_utc; "
        "ALTER TABLE market_data.ohlcv_5m ALTER volume TYPE numeric(30, 8)",
    )
    with connect(migrated_url) as connection:
        require_current_schema(connection)  # workers go on meanwhile
        assert migrate(migrated_url) == ["0011-views"]
        assert migrate(migrated_url) == []
        assert rows(connection, "SELECT * FROM market_data.ohlcv_1h") == []
