"""What a user's own tables will refuse or change is told before it happens."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import pytest

from db.connection import connect
from db.migrate import migrate
from db.warnings import warnings
from tests.kit.db_data import one, run

SYMBOLS = """
    CREATE SCHEMA trading;
    CREATE TABLE trading.symbols (id int PRIMARY KEY, symbol text);
    INSERT INTO trading.symbols VALUES (1, 'SHIBUSD');
"""
BARS = "CREATE SCHEMA market_data; CREATE TABLE market_data.ohlcv_5m (symbol_id int, ts timestamptz"
STATUS = """
    CREATE SCHEMA data_sources;
    CREATE TABLE data_sources.api_providers (id int PRIMARY KEY DEFAULT 1, code text);
    CREATE TABLE data_sources.data_sync_status (ticker_id int, provider_id int
"""


def found(url: str, statements: str) -> list[str]:
    run(url, statements)
    migrate(url)
    with connect(url) as connection:
        return warnings(connection)


def test_assetqs_own_tables_have_none(migrated_url: str) -> None:
    with connect(migrated_url) as connection:
        assert warnings(connection) == []


def test_an_empty_database_has_none(database_url: str) -> None:
    with connect(database_url) as connection:
        assert warnings(connection) == []


@pytest.mark.parametrize(
    ("statements", "expected"),
    [
        (
            f"{STATUS}, sync_status text CONSTRAINT known CHECK (sync_status IN "
            "('pending', 'success', 'failed')))",
            'sync status of SHIBUSD: .*violates check constraint "known"',
        ),
        (
            f"{STATUS}, sync_status varchar(20) CONSTRAINT known "
            "CHECK (sync_status IN ('ok', 'error')))",
            'sync status of SHIBUSD: .*violates check constraint "known"',
        ),
        (
            f"{STATUS}, error text CONSTRAINT short CHECK (length(error) < 3))",
            'sync status of SHIBUSD: .*violates check constraint "short"',
        ),
        (
            f"{BARS}, volume numeric CONSTRAINT low CHECK (volume < 1e9))",
            '1 of 1 bars of SHIBUSD, .*violates check constraint "low"',
        ),
        (
            f"{BARS}) PARTITION BY RANGE (ts); CREATE TABLE market_data.old PARTITION OF "
            "market_data.ohlcv_5m FOR VALUES FROM ('2020-01-01') TO ('2021-01-01')",
            "1 of 1 bars of SHIBUSD, .*no partition",
        ),
        (
            "CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE 'never on a weekday'; END $$;"
            "CREATE TRIGGER no BEFORE UPDATE ON trading.symbols FOR EACH ROW EXECUTE FUNCTION no()",
            "SHIBUSD: .*never on a weekday",
        ),
        (
            f"{BARS}, volume numeric(18, 8))",
            r"market_data.ohlcv_5m.volume is numeric\(18,8\): volumes of 10\^10 and more are ",
        ),
        (
            f"{BARS}, close numeric(16, 4))",
            r"market_data.ohlcv_5m.close is numeric\(16,4\): a price of 0.00000812 is stored as "
            "0.0000; ",
        ),
        (
            f"{BARS}, close numeric(12, 8))",
            r"market_data.ohlcv_5m.close is numeric\(12,8\): prices of 10\^4 and more are ",
        ),
        (f"{BARS}, source varchar(5))", r"market_data.ohlcv_5m.source is character varying\(5\): "),
        (
            f"{STATUS}, error varchar(100))",
            r"data_sources.data_sync_status.error is character varying\(100\): ",
        ),
        (
            f"{STATUS}, updated_at timestamp)",
            "data_sources.data_sync_status.updated_at is timestamp without time zone: ",
        ),
        (
            "CREATE SCHEMA market_data; CREATE VIEW market_data.ohlcv_1h AS SELECT 1 AS mine",
            "market_data.ohlcv_1h is not assetq's view; ",
        ),
        (
            "CREATE TABLE trading.latest_prices (mine int)",
            "trading.latest_prices is not assetq's view; ",
        ),
    ],
)
def test_each_is_named_with_its_remedy(database_url: str, statements: str, expected: str) -> None:
    told = found(database_url, SYMBOLS + statements)
    assert len(told) == 1
    assert re.match(expected, told[0])
    assert told[0].partition("; ")[2]


@pytest.mark.parametrize(
    "statements",
    [
        f"{BARS}, close double precision, volume double precision)",
        f"{BARS}, close numeric(38, 12), volume numeric(38, 8), source varchar(200))",
        f"{BARS}, close numeric CHECK (close > 0), volume numeric CHECK (volume >= 0), "
        "CHECK (high IS NULL OR low <= high), high numeric, low numeric)",
        f"{STATUS}, sync_status text CHECK (sync_status ~ '^[a-z]+$'), mine int CHECK (mine > 1))",
    ],
)
def test_what_fits_is_not_told(database_url: str, statements: str) -> None:
    assert found(database_url, SYMBOLS + statements) == []


def test_row_level_security_is_told_to_whom_it_concerns(migrated_url: str) -> None:
    run(
        migrated_url,
        """
        ALTER TABLE trading.symbols ENABLE ROW LEVEL SECURITY;
        CREATE ROLE watched LOGIN PASSWORD 'watched';
        GRANT USAGE ON SCHEMA trading, market_data, data_sources TO watched;
        """,
    )
    parts = urlsplit(migrated_url)
    try:
        url = f"postgresql://watched:watched@{parts.hostname}:{parts.port}{parts.path}"
        with connect(url) as connection:
            [told] = warnings(connection)
            assert told.startswith("trading.symbols has row-level security")
        with connect(migrated_url) as owner:
            assert warnings(owner) == []
    finally:
        run(migrated_url, "DROP OWNED BY watched; DROP ROLE watched")


def test_looking_changes_nothing(migrated_url: str) -> None:
    run(migrated_url, "INSERT INTO trading.symbols (symbol) VALUES ('SHIBUSD')")
    with connect(migrated_url) as connection:
        assert warnings(connection) == []
        for table in ("market_data.ohlcv_5m", "market_data.ohlcv_1d", "data_sources.api_calls"):
            assert one(connection, f"SELECT count(*) FROM {table}") == 0
        assert one(connection, "SELECT metadata FROM trading.symbols") is None
