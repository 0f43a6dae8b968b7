"""What a refresh leaves: newer wins in every order, and figures are stored as they are."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psycopg.sql import SQL, Identifier

from db.bars import SeriesBar, upsert_bars
from db.connection import Connection, connect
from db.coverage import Asked
from db.migrate import migrate
from db.refresh import RefreshWriter
from db.rows import WriteResult
from db.symbols import SymbolRepository
from market.quotes import Bar
from tests.kit.db_data import (
    CRITICAL,
    ETH,
    INTEGER_IDS,
    NOON,
    UUID_IDS,
    bar,
    call,
    last_update,
    one,
    refresh,
    rows,
    run,
)

STATUS = """
    SELECT s.symbol::text, y.sync_status, y.error, y.last_sync_timestamp IS NOT NULL,
           y.observed_at_ms
    FROM data_sources.data_sync_status AS y JOIN trading.symbols AS s ON s.id = y.ticker_id
    JOIN data_sources.api_providers AS p ON p.id = y.provider_id AND p.code = 'polygon'
    ORDER BY 1
"""


@pytest.fixture
def connection(migrated_url: str) -> Iterator[Connection]:
    with connect(migrated_url) as connection:
        SymbolRepository(connection).upsert_many([*CRITICAL, ETH])
        yield connection


@pytest.fixture
def writer(connection: Connection) -> RefreshWriter:
    return RefreshWriter(connection)


def test_everything_of_one_call(connection: Connection, writer: RefreshWriter) -> None:
    gold = refresh(
        "XAUUSD",
        "2650.10",
        bid=Decimal("2650.0"),
        ask=Decimal("2650.20"),
        daily_open=Decimal("0.1234567890123456789"),
        bars=[bar(0), bar(5)],
    )
    result = writer.write(1_767_614_400_123, call(), [gold], [("EURUSD", "no data")])
    assert result == WriteResult(changed=("XAUUSD",), bars_written=2)
    stored = last_update(connection, "XAUUSD")
    assert json.loads(stored, parse_float=str, parse_int=str) == {
        "bid": "2650.0",
        "ask": "2650.20",
        "last_price": "2650.10",
        "daily_open": "0.1234567890123456789",
        "daily_high": None,
        "daily_low": None,
        "daily_close": None,
        "timestamp": "2026-01-05T12:00:00.000000+00:00",
        "as_of": "2026-01-05T12:00:00.000000+00:00",
        "source": "snapshot",
        "delay": "real_time",
        "basis": "quote",
        "observed_at_ms": "1767614400123",
    }
    assert rows(connection, STATUS) == [
        ("EURUSD", "error", "no data", False, 1_767_614_400_123),
        ("XAUUSD", "success", None, True, 1_767_614_400_123),
    ]
    assert rows(
        connection,
        "SELECT symbol, ts, open, high, low, close, volume, vwap, trades, source "
        "FROM market_data.ohlcv_5m JOIN trading.symbols ON id = symbol_id ORDER BY ts LIMIT 1",
    ) == [
        (
            *("XAUUSD", NOON, Decimal("2650.1"), Decimal("2651.1"), Decimal("2649.1")),
            *(Decimal("2650.1"), Decimal("12.5"), None, 7, "snapshot"),
        )
    ]
    assert rows(
        connection, "SELECT call_id, feed, tickers, latency_ms FROM data_sources.api_calls"
    ) == [("call-1", "snapshot_v3", ["C:XAUUSD"], 120)]


def test_the_same_again_changes_nothing(connection: Connection, writer: RefreshWriter) -> None:
    item = refresh("XAUUSD", bars=[bar()])
    writer.write(1_000, call(), [item])
    versions = "SELECT b.xmin::text, s.xmin::text FROM market_data.ohlcv_5m b, trading.symbols s"
    before = rows(connection, versions)
    result = writer.write(1_000, call(), [item])
    assert result == WriteResult(changed=("XAUUSD",), bars_written=0), "what is stored is this"
    assert rows(connection, versions) == before
    assert one(connection, "SELECT count(*) FROM data_sources.api_calls") == 1


# (as_of in seconds after noon, observed_at_ms): equal as_of, equal observed, both crosswise.
OBSERVATIONS = ((0, 1_000), (0, 2_000), (60, 1_500), (60, 900))


@pytest.mark.parametrize("order", list(itertools.permutations(OBSERVATIONS)))
def test_old_never_overwrites_new_in_any_order(
    connection: Connection, writer: RefreshWriter, order: tuple[tuple[int, int], ...]
) -> None:
    for seconds, observed_at_ms in order:
        as_of = NOON + timedelta(seconds=seconds)
        price = f"{seconds}.{observed_at_ms}"
        writer.write(observed_at_ms, call(), [refresh("XAUUSD", price, as_of=as_of)])
    assert json.loads(last_update(connection, "XAUUSD"), parse_float=str)["last_price"] == "60.1500"


observations = st.lists(
    st.tuples(
        st.integers(-(10**12), 10**12),  # microseconds, to both sides and far
        st.integers(0, 2**53),
        st.integers(-14 * 60, 14 * 60),  # in whatever zone the provider speaks
    ),
    min_size=1,
    max_size=6,
)


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(observations)
def test_the_newest_price_and_the_newest_bar_stand_whatever_came(
    connection: Connection, writer: RefreshWriter, made: list[tuple[int, int, int]]
) -> None:
    connection.execute("UPDATE trading.symbols SET metadata = NULL")
    connection.execute("TRUNCATE market_data.ohlcv_5m")
    newest: tuple[Any, ...] = ()
    for index, (micros, observed_at_ms, minutes) in enumerate(made):
        as_of = (NOON + timedelta(microseconds=micros)).astimezone(
            timezone(timedelta(minutes=minutes))
        )
        item = refresh("XAUUSD", str(index + 1), as_of=as_of, bars=[bar(0, str(index + 1))])
        result = writer.write(observed_at_ms, call(), [item])
        is_newer = not newest or (as_of, observed_at_ms) > newest[:2]
        assert bool(result.changed) == is_newer
        if is_newer:
            newest = (as_of, observed_at_ms, index + 1)
    assert json.loads(last_update(connection, "XAUUSD"))["last_price"] == newest[2]
    latest = max(range(len(made)), key=lambda index: (made[index][1], -index))
    assert one(connection, "SELECT close FROM market_data.ohlcv_5m") == latest + 1


def test_corrected_bars_replace_and_older_ones_do_not(
    connection: Connection, writer: RefreshWriter
) -> None:
    def close() -> list[tuple[Decimal, int]]:
        query = "SELECT close, observed_at_ms FROM market_data.ohlcv_5m ORDER BY ts"
        return rows(connection, query)

    writer.write(2_000, call(), [refresh("XAUUSD", bars=[bar(0, "10"), bar(5, "11")])])
    # The price is older, the observation newer: the price stays, the corrected bar counts.
    old = NOON - timedelta(hours=1)
    result = writer.write(3_000, call(), [refresh("XAUUSD", as_of=old, bars=[bar(0, "9")])])
    assert result.unchanged == ("XAUUSD",)
    assert close() == [(Decimal(9), 3_000), (Decimal(11), 2_000)]
    writer.write(2_500, call(), [refresh("XAUUSD", bars=[bar(0, "8"), bar(5, "12")])])
    assert close() == [(Decimal(9), 3_000), (Decimal(12), 2_500)]


def test_the_newest_observation_is_the_status(
    connection: Connection, writer: RefreshWriter
) -> None:
    writer.write(2_000, call("a"), [refresh("XAUUSD")])
    writer.write(1_000, call("b"), [], [("XAUUSD", "old failure")])
    assert rows(connection, STATUS) == [("XAUUSD", "success", None, True, 2_000)]
    writer.write(3_000, call("c"), [], [("XAUUSD", "new failure")])
    assert rows(connection, STATUS) == [("XAUUSD", "error", "new failure", True, 3_000)]
    writer.write(4_000, call("d"), [refresh("XAUUSD")])
    assert rows(connection, STATUS) == [("XAUUSD", "success", None, True, 4_000)]


def test_refusals_are_named_and_the_others_are_written(
    connection: Connection, writer: RefreshWriter
) -> None:
    connection.execute("UPDATE trading.symbols SET metadata = '[1]' WHERE symbol = 'BTCUSD'")
    result = writer.write(
        1_000,
        call(),
        [
            refresh("GONE", bars=[bar()]),
            refresh("BTCUSD"),
            refresh("ETHUSDT", "NaN"),
            refresh("XAUUSD"),
            refresh("a\0b"),
        ],
        [("ALSO\udc80GONE", "why\0"), ("EURUSD", "bad\0 \udc80 text" + "x" * 9_999)],
    )
    assert result.changed == ("XAUUSD",)
    assert result.refused["GONE"] == "not in trading.symbols"
    assert "array" in result.refused["BTCUSD"]
    assert "last is not a number" in result.refused["ETHUSDT"]
    assert set(result.refused) == {"GONE", "BTCUSD", "ETHUSDT", "a\0b", "ALSO\udc80GONE"}
    assert {row[0]: row[1] for row in rows(connection, STATUS)} == {
        "BTCUSD": "error",
        "ETHUSDT": "error",
        "EURUSD": "error",
        "XAUUSD": "success",
    }
    metadata = "SELECT metadata FROM trading.symbols WHERE symbol = 'BTCUSD'"
    assert one(connection, metadata) == [1], "the user's data stay"


def test_twice_in_one_answer(connection: Connection, writer: RefreshWriter) -> None:
    newer = refresh("XAUUSD", "2", as_of=NOON + timedelta(seconds=1), bars=[bar(), bar()])
    result = writer.write(1_000, call(), [newer, refresh("XAUUSD", "1")])
    assert result == WriteResult(changed=("XAUUSD",), bars_written=1)
    assert json.loads(last_update(connection, "XAUUSD"))["last_price"] == 2


@pytest.mark.parametrize("tables", [INTEGER_IDS, UUID_IDS], ids=["integer", "uuid"])
def test_on_a_users_own_table(database_url: str, tables: str) -> None:
    run(database_url, tables)
    migrate(database_url)
    with connect(database_url) as connection:
        SymbolRepository(connection).upsert_many(CRITICAL[:1])
        item = refresh("XAUUSD", bars=[bar()])
        result = RefreshWriter(connection).write(1_000, call(), [item], [("MINE", "unknown")])
        assert result == WriteResult(changed=("XAUUSD",), bars_written=1)
        others = "SELECT metadata - 'last_update' FROM trading.symbols WHERE symbol = 'XAUUSD'"
        expected = {"desk": "metals"} if tables is INTEGER_IDS else {}
        assert one(connection, others) == expected
        assert [row[:2] for row in rows(connection, STATUS)] == [
            ("MINE", "error"),
            ("XAUUSD", "success"),
        ]
        ids = (
            "SELECT symbol_id = id FROM market_data.ohlcv_5m, trading.symbols WHERE symbol='XAUUSD'"
        )
        assert one(connection, ids) is True


@pytest.mark.parametrize("text", ['a"b', "a\\", '\\"', "a,b", "{a}", "", "NULL", " a ", "‚é'%s"])
def test_bars_are_stored_as_they_are(connection: Connection, text: str) -> None:
    connection.execute(
        "INSERT INTO trading.symbols (symbol, polygon_ticker) VALUES (%s, 'C:ODD')", [text]
    )
    numbers: dict[str, Any] = {
        "open": Decimal("1.10"),
        "high": Decimal("1E+2"),
        "low": Decimal("-0.000001"),
        "close": Decimal("99999999999999999999.123456789"),
        "volume": Decimal("0.00"),
        "vwap": None,
        "trades": 2**63 - 1,
    }
    start = NOON.astimezone(timezone(timedelta(hours=5, minutes=45)))
    odd = SeriesBar(text, start, text, Bar(start=start, **numbers))
    plain = SeriesBar("XAUUSD", NOON, "feed", bar())
    assert upsert_bars(connection, 1, "5m", [plain, odd, plain._replace(symbol="EURUSD")]) == 3
    names = SQL(", ").join(map(Identifier, numbers))
    query = SQL(
        "SELECT ts, source, {} FROM market_data.ohlcv_5m JOIN trading.symbols ON id = symbol_id "
        "WHERE symbol = %s"
    ).format(names)
    (stored,) = connection.execute(query, [text]).fetchall()
    assert stored == (start, text, *numbers.values())
    assert [str(number) for number in stored[2:5]] == ["1.10", "100", "-0.000001"]


def test_bars_of_the_hour_that_a_clock_repeats(connection: Connection) -> None:
    """02:30 twice in one zone, once more the same instant in UTC, and a zone that none has."""
    first = datetime(2025, 10, 26, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    second = first.replace(fold=1)
    third = NOON.astimezone(timezone(timedelta(hours=16, microseconds=1)))
    bars = [
        replace(bar(volume=Decimal(number)), start=start)
        for number, start in enumerate([first, second, second.astimezone(UTC), third])
    ]
    asked = Asked(first - timedelta(hours=12), first + timedelta(days=1, hours=12))
    item = replace(refresh("XAUUSD", bars=bars), asked=asked)
    assert RefreshWriter(connection).write(1_767_614_400_123, call(), [item]).bars_written == 3
    query = "SELECT ts, volume FROM market_data.ohlcv_5m ORDER BY ts"
    stored = [(ts.astimezone(UTC), volume) for ts, volume in rows(connection, query)]
    hour = datetime(2025, 10, 26, tzinfo=UTC)
    assert stored == [
        (hour.replace(minute=30), 0),
        (hour.replace(hour=1, minute=30), 2),
        (NOON, 3),
    ]
    days = "SELECT bars FROM market_data.coverage_days WHERE day = '2025-10-26'"
    assert one(connection, days) == 2
