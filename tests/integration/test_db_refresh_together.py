"""A refresh is one transaction: all or nothing, for many assets, beside other writers."""

from __future__ import annotations

import itertools
import random
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from db.connection import Connection, connect
from db.errors import DatabaseError, WritesRefused
from db.refresh import RefreshWriter
from db.rows import SymbolRefresh
from db.symbols import Asset, SymbolRepository
from tests.kit.db_data import CRITICAL, ETH, NOON, bar, call, one, refresh


@pytest.fixture
def connection(migrated_url: str) -> Iterator[Connection]:
    with connect(migrated_url) as connection:
        SymbolRepository(connection).upsert_many([*CRITICAL, ETH])
        yield connection


@pytest.fixture
def writer(connection: Connection) -> RefreshWriter:
    return RefreshWriter(connection)


@pytest.mark.parametrize(
    "victim", ["market_data.ohlcv_5m", "data_sources.data_sync_status", "data_sources.api_calls"]
)
def test_a_failure_in_the_middle_writes_nothing(
    connection: Connection, writer: RefreshWriter, victim: str
) -> None:
    connection.execute(
        f"""
        CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'disk on fire' USING ERRCODE = '53100'; END $$;
        CREATE TRIGGER fail BEFORE INSERT ON {victim} FOR EACH ROW EXECUTE FUNCTION fail();
        """.encode()
    )
    with pytest.raises(WritesRefused, match=r"disk on fire.*Free space"):
        writer.write(1_000, call(), [refresh("XAUUSD", bars=[bar()])])
    assert one(connection, "SELECT count(*) FROM trading.symbols WHERE metadata IS NOT NULL") == 0
    for table in (
        "market_data.ohlcv_5m",
        "data_sources.data_sync_status",
        "data_sources.api_calls",
    ):
        assert one(connection, f"SELECT count(*) FROM {table}") == 0
    connection.execute(f"DROP TRIGGER fail ON {victim}".encode())
    assert writer.write(1_000, call(), [refresh("XAUUSD")]).changed == ("XAUUSD",)


def many(count: int) -> list[Asset]:
    return [Asset(f"S{number:03}", f"X:S{number:03}", "crypto") for number in range(count)]


def test_250_symbols_are_one_transaction_and_few_statements(
    connection: Connection, writer: RefreshWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    assets = many(250)
    SymbolRepository(connection).upsert_many(assets)
    items = [refresh(asset.symbol, bars=[bar(5 * n) for n in range(24)]) for asset in assets]
    statements: list[str] = []
    original = Connection.execute

    def counting(self: Connection, query: Any, *arguments: Any, **options: Any) -> Any:
        statements.append(str(query))
        return original(self, query, *arguments, **options)

    monkeypatch.setattr(Connection, "execute", counting)
    result = writer.write(1_000, call(), items)
    monkeypatch.undo()
    assert len(result.changed) == 250
    assert result.bars_written == 6_000
    assert len(statements) == 7, "settings, lock, prices, bars in two parts, status, audit"
    transactions = "SELECT count(DISTINCT xmin::text) FROM "
    assert one(connection, transactions + "market_data.ohlcv_5m") == 1


def test_concurrent_writers_in_opposite_orders_do_not_deadlock(
    connection: Connection, migrated_url: str
) -> None:
    assets = many(40)
    SymbolRepository(connection).upsert_many(assets)
    problems: list[BaseException] = []
    seconds = itertools.count()

    def work(seed: int) -> None:
        mix = random.Random(seed)
        try:
            with connect(migrated_url, lock_timeout_s=20) as own:
                writer, symbols = RefreshWriter(own), SymbolRepository(own)
                for _ in range(12):
                    as_of = NOON + timedelta(seconds=next(seconds))
                    items: list[SymbolRefresh] = [
                        refresh(asset.symbol, as_of=as_of, bars=[bar()]) for asset in assets
                    ]
                    mix.shuffle(items)
                    failed = [(item.symbol, "failed") for item in items[:10]]
                    writer.write(mix.randrange(10**6), call(str(seed)), items[10:], failed)
                    symbols.upsert_many([replace(a, priority=mix.randint(2, 4)) for a in assets])
        except DatabaseError as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert problems == []
    assert not any(thread.is_alive() for thread in threads)


def test_a_row_that_another_session_holds_is_busy_and_can_be_tried_again(
    connection: Connection, migrated_url: str
) -> None:
    with connect(migrated_url, lock_timeout_s=0.1) as impatient, connection.transaction():
        connection.execute("SELECT 1 FROM trading.symbols WHERE symbol = 'XAUUSD' FOR UPDATE")
        result = RefreshWriter(impatient).write(1_000, call(), [refresh("XAUUSD")])
        assert result.busy == {"XAUUSD"}
        assert "another session" in result.refused["XAUUSD"]
        assert RefreshWriter(impatient).write(1_000, call(), [refresh("EURUSD")]).changed
