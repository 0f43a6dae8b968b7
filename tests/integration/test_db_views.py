"""The views for readers: bars of 15 minutes to a day, and the latest prices."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from db.connection import Connection, connect
from db.coverage import Asked
from db.migrate import migrate
from db.reading import stored_range
from db.refresh import RefreshWriter
from db.rows import SymbolRefresh
from db.symbols import Asset, SymbolRepository
from market.hours import is_open
from market.quotes import Bar
from tests.kit.db_data import CRITICAL, INTEGER_IDS, NOON, call, one, refresh, rows, run

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
FIVE = timedelta(minutes=5)


@pytest.fixture
def connection(migrated_url: str) -> Iterator[Connection]:
    with connect(migrated_url) as connection:
        SymbolRepository(connection).upsert_many(CRITICAL)
        yield connection


def bar_at(index: int) -> Bar:
    values = (Decimal(index), Decimal(index + 5), Decimal(index - 5), Decimal(index + 1))
    return Bar(MONDAY + index * FIVE, *values, Decimal(2), None, 3)


def store(
    connection: Connection,
    indexes: range | list[int],
    *,
    asked: bool = False,
    at: datetime = MONDAY + timedelta(days=9),
) -> None:
    item = SymbolRefresh(
        "BTCUSD",
        None,
        [bar_at(index) for index in indexes],
        asked=Asked(MONDAY, MONDAY + timedelta(days=1)) if asked else None,
        source="aggregates",
    )
    RefreshWriter(connection).write(int(at.timestamp() * 1000), call(), [item])


@pytest.mark.parametrize(("view", "parts"), [("15m", 3), ("1h", 12), ("4h", 48), ("1d_utc", 288)])
def test_bars_are_made_of_their_parts(connection: Connection, view: str, parts: int) -> None:
    store(connection, range(288))
    made = rows(
        connection,
        "SELECT symbol, ts, open, high, low, close, volume, trades, parts, complete "
        f"FROM market_data.ohlcv_{view} ORDER BY ts",
    )
    assert len(made) == 288 // parts
    for index, row in enumerate(made):
        first, last = index * parts, index * parts + parts - 1
        assert row == (
            *("BTCUSD", MONDAY + first * FIVE, first, last + 5, first - 5, last + 1),
            *(2 * parts, 3 * parts, parts, True),
        )


@pytest.mark.parametrize("view", ["15m", "1h", "4h", "1d_utc"])
def test_a_query_for_some_time_reads_the_bars_of_that_time(
    connection: Connection, view: str
) -> None:
    """Of all days that are stored: the time is looked up by the primary key."""
    store(connection, range(5 * 288))
    connection.execute("SET enable_seqscan = off")  # which is quicker where so little is stored
    query = f"""
        SELECT * FROM market_data.ohlcv_{view}
        WHERE symbol = 'BTCUSD' AND ts >= '2026-01-07' AND ts < '2026-01-08'"""
    assert sum(row[-2] for row in rows(connection, query)) == 288
    plan = one(connection, f"EXPLAIN (ANALYZE, FORMAT JSON) {query}")
    assert _bars_read(plan[0]["Plan"]) == 288 + 2, "and the first and last bar"


def _bars_read(node: dict[str, Any]) -> int:
    read = 0
    if node.get("Relation Name") == "ohlcv_5m":
        dropped = node.get("Rows Removed by Filter", 0)
        read = round((node["Actual Rows"] + dropped) * node["Actual Loops"])
    return read + sum(map(_bars_read, node.get("Plans", ())))


def test_a_bar_with_a_missing_part_is_not_complete(connection: Connection) -> None:
    store(connection, [n for n in range(288) if n != 7])
    query = "SELECT parts, complete FROM market_data.ohlcv_15m WHERE ts = %s"
    assert rows(connection, query, MONDAY + timedelta(minutes=30)) == [(2, False)]
    assert rows(connection, query, MONDAY) == [(3, True)]


def test_a_part_without_ticks_is_not_missing(connection: Connection) -> None:
    """The provider was asked for the whole day after its end, and has no more."""
    store(connection, [n for n in range(288) if n != 7], asked=True)
    query = "SELECT parts, complete FROM market_data.ohlcv_15m WHERE ts = %s"
    assert rows(connection, query, MONDAY + timedelta(minutes=30)) == [(2, True)]


def test_a_day_that_is_half_published_is_not_complete(connection: Connection) -> None:
    """It was asked for as a whole, after its end, and is asked for again."""
    store(connection, range(62), asked=True, at=MONDAY + timedelta(days=1, minutes=10))
    assert rows(connection, "SELECT parts, complete FROM market_data.ohlcv_1d_utc") == [(62, False)]
    hours = "SELECT parts, complete FROM market_data.ohlcv_1h ORDER BY ts"
    assert rows(connection, hours) == [*[(12, True)] * 5, (2, False)]


def test_a_day_that_does_not_add_up_is_not_complete(connection: Connection) -> None:
    store(connection, range(287), asked=True)
    connection.execute("UPDATE market_data.coverage_days SET agrees = false")
    days = "SELECT complete FROM market_data.ohlcv_1d_utc"
    assert one(connection, days) is False
    connection.execute("UPDATE market_data.coverage_days SET agrees = true")
    assert one(connection, days) is True


@pytest.mark.parametrize("older", ["0006-views", "0007-views", "0009-views"])
def test_views_of_an_older_version_are_replaced_under_those_of_the_users(
    migrated_url: str, older: str
) -> None:
    run(
        migrated_url,
        f"""
        CREATE OR REPLACE VIEW market_data.ohlcv_1h AS
            SELECT symbol, ts, open, high, low, close, volume, trades, parts,
                   NULL::boolean AS complete
            FROM market_data.ohlcv_15m;
        CREATE VIEW public.mine AS SELECT * FROM market_data.ohlcv_1h;
        DELETE FROM assetq.migrations WHERE name = '0011-views';
        INSERT INTO assetq.migrations (name) VALUES ('{older}');
        """,
    )
    assert migrate(migrated_url) == ["0011-views"]
    with connect(migrated_url) as connection:
        SymbolRepository(connection).upsert_many(CRITICAL)
        store(connection, range(12))
        assert rows(connection, "SELECT parts, complete FROM public.mine") == [(12, True)]


def test_the_latest_prices(connection: Connection) -> None:
    item = refresh("XAUUSD", "2650.10", bid=Decimal("2650.0"), ask=Decimal("2650.20"))
    RefreshWriter(connection).write(1_767_614_400_123, call(), [item])
    columns = "symbol, price, bid, ask, mid, as_of, fetched_at, source, delay, basis, last_trade"
    assert rows(connection, f"SELECT {columns} FROM trading.latest_prices") == [
        (
            *("XAUUSD", Decimal("2650.10"), Decimal("2650.0"), Decimal("2650.20")),
            *(Decimal("2650.10"), NOON, datetime(2026, 1, 5, 12, 0, 0, 123_000, tzinfo=UTC)),
            *("snapshot", "real_time", "quote", None),
        )
    ]
    assert one(connection, "SELECT age > '1 day' FROM trading.latest_prices")


@pytest.mark.parametrize(
    "metadata",
    [
        "null",
        "7",
        '{"last_update": 5}',
        '{"last_update": {"as_of": "2026-02-30T00:00:00.000000+00:00", "bid": "x"}}',
        '{"last_update": {"as_of": "9999-99-99T99:99:99.999999+00:00", "ask": null}}',
        '{"last_update": {"observed_at_ms": 1e30, "last_price": "NaN", "bid": [1]}}',
        '{"last_update": {"observed_at_ms": -1, "daily_open": {}}}',
    ],
)
def test_one_odd_row_does_not_hide_the_others(connection: Connection, metadata: str) -> None:
    RefreshWriter(connection).write(1_000, call(), [refresh("XAUUSD")])
    connection.execute(
        "UPDATE trading.symbols SET metadata = %s::jsonb WHERE symbol = 'EURUSD'", (metadata,)
    )
    sane = "SELECT symbol FROM trading.latest_prices WHERE price IS NOT NULL"
    assert rows(connection, sane) == [("XAUUSD",)]
    rows(connection, "SELECT * FROM trading.latest_prices")


ODD_TIMES = ["infinity", "-infinity", "294276-01-01", "0044-03-15 BC", "9999-12-31"]


def test_a_bar_of_an_odd_time_hides_no_other(connection: Connection) -> None:
    store(connection, range(24), asked=True)
    connection.execute("SET statement_timeout = '2s'")
    insert = """
        INSERT INTO market_data.ohlcv_5m
        SELECT symbol_id, %s, open, high, low, close, volume, vwap, trades, source, observed_at_ms
        FROM market_data.ohlcv_5m LIMIT 1"""
    for at in ODD_TIMES:
        connection.execute(insert, (at,))
    insert = """
        INSERT INTO market_data.coverage_days
        SELECT (jsonb_populate_record(known, jsonb_build_object('day', %s::text))).*
        FROM market_data.coverage_days AS known LIMIT 1"""
    for day in ("infinity", "-infinity", "0044-03-15 BC"):
        connection.execute(insert.encode(), (day,))
    assert one(connection, "SELECT count(*) FROM market_data.ohlcv_1h") == 2
    covered = "SELECT status FROM market_data.coverage WHERE symbol = 'BTCUSD' AND day = %s"
    assert one(connection, covered, MONDAY.date()) == "sparse"
    assert stored_range(connection, "BTCUSD") == (MONDAY, MONDAY + 23 * FIVE)
    connection.execute("DELETE FROM market_data.ohlcv_5m WHERE ts BETWEEN '2000-01-01' AND now()")
    assert one(connection, "SELECT count(*) FROM market_data.ohlcv_1h") == 0
    assert stored_range(connection, "BTCUSD") is None


@pytest.mark.parametrize("ticker", ["C:EURUSD", "C:XAUUSD", "X:BTCUSD"])
def test_open_markets_are_those_of_market_hours(connection: Connection, ticker: str) -> None:
    """Two weeks around both changes of the clocks, every half hour."""
    for start in (datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)):
        moments = [start + n * timedelta(minutes=30) for n in range(14 * 48)]
        query = "SELECT array_agg(assetq.is_open(%s, at) ORDER BY at) FROM unnest(%s) AS at"
        assert one(connection, query, ticker, moments) == [is_open(ticker, at) for at in moments]


def test_views_on_a_users_own_tables(database_url: str) -> None:
    run(database_url, INTEGER_IDS)
    run(
        database_url,
        """
        CREATE SCHEMA market_data;
        CREATE TABLE market_data.ohlcv_5m (
            symbol_id int, ts timestamp, open double precision, high double precision,
            low double precision, close double precision, volume double precision,
            mine text, PRIMARY KEY (symbol_id, ts));
        CREATE VIEW market_data.ohlcv_4h AS SELECT 'mine' AS mine;
        CREATE TABLE market_data.ohlcv_1d (symbol_id int, ts timestamptz, close numeric);
        """,
    )
    migrate(database_url)
    with connect(database_url) as connection:
        SymbolRepository(connection).upsert_many(
            [Asset("BTCUSD", "X:BTCUSD", "crypto"), *CRITICAL[:1]]
        )
        store(connection, range(288), asked=True)
        days = "SELECT symbol, ts, open, close, complete FROM market_data.ohlcv_1d_utc"
        assert rows(connection, days) == [("BTCUSD", MONDAY, 0.0, 288.0, True)]
        assert rows(connection, "SELECT * FROM market_data.ohlcv_4h") == [("mine",)]
        assert one(connection, "SELECT count(*) FROM market_data.ohlcv_1d") == 0


def test_tables_and_columns_are_explained(connection: Connection) -> None:
    """By comments, which psql shows with \\d+; those of the user's stay."""
    bare = """
        SELECT n.nspname || '.' || c.relname FROM pg_class AS c
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE n.nspname IN ('trading', 'market_data', 'data_sources', 'assetq')
          AND c.relkind IN ('r', 'v', 'p') AND obj_description(c.oid, 'pg_class') IS NULL
        ORDER BY 1
    """
    assert rows(connection, bare) == [("trading.symbols",)], "which may be the user's"
    bare_columns = """
        SELECT c.relname FROM pg_class AS c
        WHERE obj_description(c.oid, 'pg_class') LIKE 'assetq:%%' AND c.relkind = 'v'
          AND NOT EXISTS (SELECT FROM pg_description AS d
                          WHERE d.objoid = c.oid AND d.objsubid > 0)
    """
    assert rows(connection, bare_columns) == []


def test_comments_of_the_users_stay(database_url: str) -> None:
    run(database_url, INTEGER_IDS)
    run(database_url, "COMMENT ON COLUMN trading.symbols.metadata IS 'mine'")
    migrate(database_url)
    with connect(database_url) as connection:
        mine = "SELECT col_description('trading.symbols'::regclass, attnum) FROM pg_attribute "
        mine += "WHERE attrelid = 'trading.symbols'::regclass AND attname = 'metadata'"
        assert one(connection, mine) == "mine"
