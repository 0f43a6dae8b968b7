"""The catalogue: imports, bands, and the order of staleness."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import pytest

from db.connection import Connection, connect
from db.errors import SymbolRejected
from db.latest import latest_prices
from db.migrate import migrate
from db.refresh import RefreshWriter
from db.symbols import Asset, ImportCounts, SymbolRepository
from tests.kit.db_data import (
    CRITICAL,
    ETH,
    INTEGER_IDS,
    NOON,
    call,
    one,
    refresh,
    rows,
    run,
)


@pytest.fixture
def connection(migrated_url: str) -> Iterator[Connection]:
    with connect(migrated_url) as connection:
        yield connection


@pytest.fixture
def symbols(connection: Connection) -> SymbolRepository:
    return SymbolRepository(connection)


def names(assets: tuple[Asset, ...]) -> list[str]:
    return [asset.symbol for asset in assets]


def test_import_counts_and_again(symbols: SymbolRepository) -> None:
    assert symbols.upsert_many(CRITICAL) == ImportCounts(3, 0, 0)
    assert symbols.upsert_many([*CRITICAL, ETH]) == ImportCounts(1, 0, 3)
    moved = replace(CRITICAL[0], priority=2)
    assert symbols.upsert_many([moved, ETH]) == ImportCounts(0, 1, 1)
    assert symbols.get_many(["XAUUSD"])["XAUUSD"].priority == 2
    assert symbols.upsert_many([]) == ImportCounts(0, 0, 0)
    assert symbols.upsert_many([CRITICAL[0], moved, moved]) == ImportCounts(0, 0, 1), "last counts"


def test_what_an_import_does_not_tell_stays(symbols: SymbolRepository) -> None:
    symbols.upsert_many(CRITICAL)
    bare = replace(CRITICAL[0], name=None, update_frequency_seconds=None)
    assert symbols.upsert_many([bare]) == ImportCounts(0, 0, 1)
    assert symbols.get_many(["XAUUSD"])["XAUUSD"].name == "Gold Spot"


def test_without_overwrite_the_users_edits_stay(symbols: SymbolRepository) -> None:
    symbols.upsert_many(CRITICAL)
    other = Asset("XAUUSD", "C:OTHER", "crypto", "Other", 4, 60)
    assert symbols.upsert_many([other, ETH], overwrite=False) == ImportCounts(1, 0, 1)
    stored = symbols.get_many(["XAUUSD"])["XAUUSD"]
    assert (stored.polygon_ticker, stored.name, stored.priority) == ("C:XAUUSD", "Gold Spot", 1)


def test_reading_one_and_many(symbols: SymbolRepository) -> None:
    symbols.upsert_many([*CRITICAL, ETH])
    stored = symbols.get_many(["ETHUSDT"])["ETHUSDT"]
    assert (stored.polygon_ticker, stored.asset_type, stored.priority) == (
        "X:ETHUSDT",
        "crypto",
        3,
    )
    assert stored.last_price is None
    assert stored.as_of is None
    assert set(symbols.get_many(["NOPE", "XAUUSD", "ETHUSDT"])) == {"XAUUSD", "ETHUSDT"}
    assert symbols.get_many([]) == {}
    assert names(symbols.list()) == ["BTCUSD", "EURUSD", "XAUUSD", "ETHUSDT"]
    assert names(symbols.list(band=1)) == ["BTCUSD", "EURUSD", "XAUUSD"]


def test_names_are_values_and_never_sql(symbols: SymbolRepository) -> None:
    nasty = "x'); DROP TABLE trading.symbols; --"
    symbols.upsert_many([Asset(nasty, nasty, nasty, nasty)])
    assert symbols.get_many([nasty])[nasty].name == nasty


def test_stalest_first(connection: Connection, symbols: SymbolRepository) -> None:
    symbols.upsert_many([*CRITICAL, ETH])
    RefreshWriter(connection).write(
        1_000,
        call(),
        [
            refresh("XAUUSD", as_of=NOON),
            refresh("EURUSD", as_of=NOON - timedelta(days=1)),
            refresh("BTCUSD", as_of=NOON + timedelta(microseconds=1)),
        ],
    )
    assert names(symbols.stalest()) == ["ETHUSDT", "EURUSD", "XAUUSD", "BTCUSD"]
    gold = symbols.get_many(["XAUUSD"])["XAUUSD"]
    assert gold.last_price == Decimal("2650.10")
    assert (gold.as_of, gold.source, gold.delay) == (NOON, "snapshot", "real_time")
    assert gold.observed_at_ms == 1_000
    assert gold.updated_at is not None


def test_a_users_table_with_an_enum_and_strange_values(database_url: str) -> None:
    run(database_url, INTEGER_IDS)
    migrate(database_url)
    with connect(database_url) as connection:
        symbols = SymbolRepository(connection)
        assert symbols.upsert_many([*CRITICAL, ETH]) == ImportCounts(3, 1, 0)
        connection.execute("UPDATE trading.symbols SET priority = 99 WHERE symbol = 'ETHUSDT'")
        connection.execute("UPDATE trading.symbols SET priority = NULL WHERE symbol = 'BTCUSD'")
        connection.execute("UPDATE trading.symbols SET is_active = false WHERE symbol = 'EURUSD'")
        bands = {asset.symbol: asset.priority for asset in symbols.list()}
        assert bands == {"XAUUSD": 1, "ETHUSDT": 4, "BTCUSD": 3}
        assert rows(
            connection,
            "SELECT exchange, metadata ->> 'desk' FROM trading.symbols WHERE symbol = 'XAUUSD'",
        ) == [("LBMA", "metals")]
        with pytest.raises(SymbolRejected, match=r"enum.*Change that rule or type"):
            symbols.upsert_many([replace(ETH, symbol="NEW", asset_type="option")])
        assert one(connection, "SELECT count(*) FROM trading.symbols") == 5


@pytest.mark.parametrize(
    "metadata",
    [
        "null",
        "[1]",
        '"x"',
        "7",
        '{"last_update": 5}',
        '{"last_update": null}',
        '{"last_update": [{"as_of": "2026-01-05T12:00:00.000000+00:00"}]}',
        '{"last_update": {"as_of": "garbage", "last_price": "1", "observed_at_ms": "x"}}',
        '{"last_update": {"as_of": "2026-02-30T00:00:00.000000+00:00", "last_price": true}}',
        '{"last_update": {"as_of": "0000-01-01T00:00:00.000000+00:00"}}',
        '{"last_update": {"as_of": "9999-99-99T99:99:99.999999+00:00"}}',
        '{"last_update": {"as_of": {"at": [1]}, "last_price": {}, "source": [], "delay": {}}}',
        '{"last_update": {"observed_at_ms": 1e17}}',
        '{"last_update": {"observed_at_ms": 1e30}}',
        '{"last_update": {"observed_at_ms": -1}}',
        '{"last_update": {"observed_at_ms": "NaN", "last_price": "NaN"}}',
        '{"last_update": {"observed_at_ms": [1], "last_price": [1]}}',
    ],
)
def test_any_metadata_of_the_users_can_be_read(
    connection: Connection, symbols: SymbolRepository, metadata: str
) -> None:
    symbols.upsert_many([ETH])
    connection.execute("UPDATE trading.symbols SET metadata = %s::jsonb", (metadata,))
    [asset] = symbols.stalest()
    assert (asset.as_of, asset.last_price, asset.observed_at_ms) == (None, None, None)
    writer = RefreshWriter(connection)
    result = writer.write(1_000, call(), [refresh("ETHUSDT")])
    assert result.changed or "metadata" in result.refused["ETHUSDT"]


ODD_COLUMNS = [
    ("priority numeric", "'NaN'", {"priority": 3}),
    ("priority numeric", "1e30", {"priority": 4}),
    ("priority numeric", "-1e30", {"priority": 1}),
    ("priority numeric", "2.4", {"priority": 2}),
    ("priority bigint", "9223372036854775807", {"priority": 4}),
    ("update_frequency_seconds numeric", "'NaN'", {"update_frequency_seconds": None}),
    ("update_frequency_seconds numeric", "1e17", {"update_frequency_seconds": None}),
    ("update_frequency_seconds bigint", "-5", {"update_frequency_seconds": None}),
    ("update_frequency_seconds integer", "0", {"update_frequency_seconds": None}),
    ("updated_at timestamptz", "'infinity'", {"updated_at": None}),
    ("updated_at timestamptz", "'-infinity'", {"updated_at": None}),
    ("updated_at timestamp", "'infinity'", {"updated_at": None}),
    ("updated_at timestamp", "'0044-03-15 BC'", {"updated_at": None}),
    ("updated_at timestamptz", "'294276-01-01'", {"updated_at": None}),
    ("name text", "repeat('x', 100000)", {"name": "x" * 100_000}),
    ("name text", "''", {"name": ""}),
    ("asset_type text", "NULL", {"asset_type": ""}),
    ("is_active boolean", "NULL", {}),
]


@pytest.mark.parametrize(("column", "value", "expected"), ODD_COLUMNS)
def test_any_value_of_any_column_can_be_read(
    database_url: str, column: str, value: str, expected: dict[str, object]
) -> None:
    run(
        database_url,
        f"""
        CREATE SCHEMA trading;
        CREATE TABLE trading.symbols (
            id int PRIMARY KEY, symbol text, last_price text, raw text, {column});
        INSERT INTO trading.symbols VALUES (1, 'ODD', 'mine', 'mine', {value});
        INSERT INTO trading.symbols (id, symbol) VALUES (2, 'SANE');
        """,
    )
    migrate(database_url)
    run(database_url, "UPDATE trading.symbols SET polygon_ticker = 'X:' || symbol")
    with connect(database_url) as connection:
        assets = {asset.symbol: asset for asset in SymbolRepository(connection).stalest()}
        assert set(assets) == {"ODD", "SANE"}
        assert {name: getattr(assets["ODD"], name) for name in expected} == expected


def test_latest_prices_tell_what_is_stored_and_no_more(migrated_url: str) -> None:
    with connect(migrated_url) as connection:
        SymbolRepository(connection).upsert_many([*CRITICAL, ETH])
        connection.execute(
            'UPDATE trading.symbols SET metadata = \'{"last_update": {"last_price": 4.5,'
            ' "daily_open": "odd", "as_of": "2026-02-30T12:00:00.000000+00:00",'
            ' "observed_at_ms": 1795487495877, "source": "snapshot"}}\', is_active = false'
            " WHERE symbol = 'XAUUSD'"
        )
        found = {row.symbol: row for row in latest_prices(connection)}
        (one,) = latest_prices(connection, ["XAUUSD", "NONE"])
    assert found.keys() == {"XAUUSD", "EURUSD", "BTCUSD", "ETHUSDT"}
    assert found["XAUUSD"] == one
    assert (one.price, one.day_open, one.as_of_ms) == (Decimal("4.5"), None, None)
    assert (one.fetched_at_ms, one.source, one.active) == (1795487495877, "snapshot", False)
    assert (found["EURUSD"].price, found["EURUSD"].every_s, found["ETHUSDT"].band) == (None, 300, 3)
