"""Reading what is stored: streamed bars, on tables of any user, and coverage in numbers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from db.connection import Connection, connect
from db.migrate import migrate
from db.reading import TIMEFRAMES, coverage_counts, known_symbols, read_bars, stored_range
from db.refresh import RefreshWriter
from db.rows import SymbolRefresh
from db.symbols import SymbolRepository
from market.quotes import Bar
from tests.kit.db_data import CRITICAL, INTEGER_IDS, call, one, run

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
FIVE = timedelta(minutes=5)


@pytest.fixture
def connection(migrated_url: str) -> Iterator[Connection]:
    with connect(migrated_url) as connection:
        SymbolRepository(connection).upsert_many(CRITICAL)
        yield connection


def store(connection: Connection, bars: int) -> None:
    found = []
    for n in range(1, bars + 1):
        at = Decimal(n)
        found.append(Bar(MONDAY + n * FIVE, at, at, at, at, Decimal(2)))
    item = SymbolRefresh("BTCUSD", None, found, source="aggregates")
    RefreshWriter(connection).write(1_800_000_000_000, call(), [item])


def test_bars_stream_and_leave_the_connection_free(connection: Connection) -> None:
    """Ten days are 2,880 bars; the server keeps what was not taken yet."""
    store(connection, 2880)
    bars = read_bars(connection, "BTCUSD", "5m", MONDAY, MONDAY + timedelta(days=30))
    assert next(bars).open == 1
    cursors = "SELECT count(*) FROM pg_cursors WHERE name = 'assetq_bars'"
    assert one(connection, cursors) == 1
    assert sum(1 for _ in bars) == 2879
    assert one(connection, cursors) == 0
    assert len(list(read_bars(connection, "BTCUSD", "1d", MONDAY, MONDAY + timedelta(days=2)))) == 2


def test_a_range_ends_before_its_end(connection: Connection) -> None:
    store(connection, 12)
    found = read_bars(connection, "BTCUSD", "5m", MONDAY + FIVE, MONDAY + 3 * FIVE)
    assert [bar.ts for bar in found] == [MONDAY + FIVE, MONDAY + 2 * FIVE]
    assert stored_range(connection, "BTCUSD") == (MONDAY + FIVE, MONDAY + 12 * FIVE)
    assert stored_range(connection, "EURUSD") is None
    assert stored_range(connection, "NOBODY") is None


def test_a_users_own_table_is_read_alike(database_url: str) -> None:
    """Integer ids, times without a zone, floating numbers."""
    run(database_url, INTEGER_IDS)
    run(
        database_url,
        """
        CREATE SCHEMA market_data;
        CREATE TABLE market_data.ohlcv_5m (
            symbol_id int, ts timestamp, open double precision, high double precision,
            low double precision, close double precision, volume double precision,
            PRIMARY KEY (symbol_id, ts));
        """,
    )
    migrate(database_url)
    with connect(database_url) as connection:
        SymbolRepository(connection).upsert_many([CRITICAL[2]])
        store(connection, 24)
        end = MONDAY + timedelta(days=1)
        for timeframe, count in zip(TIMEFRAMES, (24, 9, 3, 1, 1), strict=True):
            found = list(read_bars(connection, "BTCUSD", timeframe, MONDAY, end))
            assert len(found) == count
            assert found[0].ts.tzinfo is not None
            assert found[0].open == Decimal(1)
        assert list(known_symbols(connection)) == ["BTCUSD"], "MINE has no ticker"


def test_coverage_in_numbers_counts_each_day_once(connection: Connection) -> None:
    connection.execute(
        """
        INSERT INTO market_data.coverage_days
            (symbol_id, timeframe, day, asked_at, whole, bars, refused, expected, look_again_at)
        SELECT id, '5m', day, day + 4, true, bars, 0, expected, NULL
        FROM trading.symbols
        CROSS JOIN (VALUES (date '2026-01-05', 288, 288), (date '2026-01-06', 5, 288),
                           (date '2026-01-09', 0, 0)) AS days (day, bars, expected)
        WHERE symbol = 'BTCUSD'
        """
    )
    monday = MONDAY.date()
    found = coverage_counts(
        connection, monday - timedelta(9), monday + timedelta(5), newest=monday + timedelta(2)
    )
    assert list(found) == ["BTCUSD"]
    btc = found["BTCUSD"]
    assert (btc.first, btc.newest) == (monday, ["missing", "missing", "closed", "missing"])
    assert (btc.complete, btc.sparse, btc.pending, btc.missing, btc.closed) == (1, 1, 0, 3, 1)
