"""Coverage against the daily bar, and beside the prices and bars of the same answer."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from decimal import Decimal

import pytest

from db.connection import Connection, connect
from db.coverage import DAILY, Asked, CoverageRepository
from db.errors import WritesRefused
from db.migrate import migrate
from db.refresh import RefreshWriter
from db.rows import SymbolRefresh
from db.symbols import SymbolRepository
from market.quotes import Bar
from tests.kit.coverage import D1, DAY, MONDAY, bars, holes, ms, statuses, store
from tests.kit.db_data import CRITICAL, INTEGER_IDS, call, one, refresh, rows, run


@pytest.fixture
def connection(migrated_url: str) -> Iterator[Connection]:
    with connect(migrated_url) as connection:
        SymbolRepository(connection).upsert_many(CRITICAL)
        yield connection


@pytest.fixture
def coverage(connection: Connection) -> CoverageRepository:
    return CoverageRepository(connection)


def daily(
    symbol: str, open_: int, high: int, low: int, close: int, volume: int = 1
) -> SymbolRefresh:
    bar = Bar(MONDAY, Decimal(open_), Decimal(high), Decimal(low), Decimal(close), Decimal(volume))
    asked = Asked(MONDAY, MONDAY + DAY, timeframe=DAILY)
    return SymbolRefresh(symbol, None, daily=[bar], asked=asked, source="grouped")


@pytest.mark.parametrize("order", ["bars first", "daily bar first"])
def test_the_daily_bar_is_the_checksum_of_its_parts(
    connection: Connection, coverage: CoverageRepository, order: str
) -> None:
    at = MONDAY + 5 * DAY
    missing_end = bars(MONDAY, 280)  # enough to be complete, but its close is another
    whole = daily("BTCUSD", 10, 299, 9, 298)
    if order == "daily bar first":
        RefreshWriter(connection).write(ms(at), call("a"), [whole])
    store(connection, at, MONDAY, MONDAY + DAY, missing_end)
    if order == "bars first":
        assert statuses(connection) == {"01-05": ("complete", 280)}
        RefreshWriter(connection).write(ms(at), call("b"), [whole])
    assert statuses(connection) == {"01-05": ("sparse", 280)}
    later = at + timedelta(hours=4)
    assert holes(coverage, later, MONDAY.date(), MONDAY.date()).again, "looked at again"
    store(connection, later, MONDAY, MONDAY + DAY, bars(MONDAY, 288))
    assert statuses(connection) == {"01-05": ("complete", 288)}
    assert holes(coverage, later + DAY, MONDAY.date(), MONDAY.date()) is None


def test_a_gap_between_extremes_is_told_by_the_volume(connection: Connection) -> None:
    """Six hours lack, and open, high, low and close are those of the day all the same."""
    at = MONDAY + 5 * DAY
    came = bars(MONDAY, 288)
    whole = daily("BTCUSD", 10, 299, 9, 298, volume=int(sum(bar.volume for bar in came)))
    store(connection, at, MONDAY, MONDAY + DAY, came[:96] + came[168:])
    RefreshWriter(connection).write(ms(at), call("a"), [whole])
    assert statuses(connection) == {"01-05": ("sparse", 216)}


def test_few_bars_that_add_up_are_complete(connection: Connection) -> None:
    at = MONDAY + 5 * DAY
    store(connection, at, MONDAY, MONDAY + DAY, bars(MONDAY, 20))
    assert statuses(connection) == {"01-05": ("sparse", 20)}
    RefreshWriter(connection).write(ms(at), call("a"), [daily("BTCUSD", 10, 31, 9, 30)])
    assert statuses(connection) == {"01-05": ("complete", 20)}
    stored = rows(connection, "SELECT ts, close, source FROM market_data.ohlcv_1d")
    assert stored == [(MONDAY, 30, "grouped")]


def test_bars_that_are_refused_are_told_by_the_day(connection: Connection) -> None:
    """The day is sparse, and its coverage says how many were refused."""
    connection.execute("ALTER TABLE market_data.ohlcv_5m ADD CHECK (open <> 17)")
    came = bars(MONDAY, 288)
    came[3] = Bar(came[3].start, D1, D1, D1, D1, Decimal("NaN"))
    store(connection, MONDAY + 5 * DAY, MONDAY, MONDAY + DAY, came)
    assert statuses(connection) == {"01-05": ("sparse", 286)}
    assert one(connection, "SELECT refused FROM market_data.coverage_days") == 2


def test_coverage_and_bars_are_one_transaction(connection: Connection) -> None:
    connection.execute(
        """
        CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = '53100'; END $$;
        CREATE TRIGGER fail BEFORE INSERT ON data_sources.api_calls
            FOR EACH ROW EXECUTE FUNCTION fail();
        """
    )
    with pytest.raises(WritesRefused):
        store(connection, MONDAY + DAY, MONDAY, MONDAY + DAY, bars(MONDAY, 288))
    assert one(connection, "SELECT count(*) FROM market_data.coverage_days") == 0
    assert one(connection, "SELECT count(*) FROM market_data.ohlcv_5m") == 0


@pytest.mark.parametrize("zone", ["America/Lima", "Asia/Tokyo", "UTC"])
def test_a_users_bars_without_time_zone_are_utc(database_url: str, zone: str) -> None:
    """On a host west of UTC every second day was lost."""
    run(database_url, INTEGER_IDS)
    run(
        database_url,
        """
        CREATE SCHEMA market_data;
        CREATE TABLE market_data.ohlcv_5m (
            symbol_id int, ts timestamp, open numeric(12, 4), high numeric(12, 4),
            low numeric(12, 4), close numeric(12, 4), volume numeric(18, 8),
            PRIMARY KEY (symbol_id, ts));
        """,
    )
    name = database_url.rpartition("/")[2]
    run(database_url, f"ALTER DATABASE {name} SET TimeZone = '{zone}'")
    migrate(database_url)
    with connect(database_url) as connection:
        SymbolRepository(connection).upsert_many(CRITICAL[2:])
        store(connection, MONDAY + 9 * DAY, MONDAY, MONDAY + 2 * DAY, bars(MONDAY, 576))
        assert statuses(connection) == {"01-05": ("complete", 288), "01-06": ("complete", 288)}
        per_day = "SELECT ts::date::text, count(*) FROM market_data.ohlcv_5m GROUP BY 1 ORDER BY 1"
        assert rows(connection, per_day) == [("2026-01-05", 288), ("2026-01-06", 288)]
        views = "SELECT ts, parts FROM market_data.ohlcv_1d_utc ORDER BY ts"
        assert rows(connection, views) == [(MONDAY, 288), (MONDAY + DAY, 288)]


def test_2000_symbols_of_one_answer(connection: Connection) -> None:
    """Grouped daily: one call, all tickers of a market, few statements."""
    connection.execute(
        "INSERT INTO trading.symbols (symbol, polygon_ticker) "
        "SELECT 'S' || n, 'X:S' || n FROM generate_series(1, 2000) AS n"
    )
    items = [daily(f"S{n}", 10, 31, 9, 30) for n in range(1, 2001)]
    result = RefreshWriter(connection).write(ms(MONDAY + 2 * DAY), call(), items)
    assert result.bars_written == 2000
    counted = "SELECT count(*) FROM market_data.coverage WHERE status = 'complete'"
    assert one(connection, counted) == 2000


def test_a_price_and_its_bars_and_their_coverage(connection: Connection) -> None:
    """One answer with all of it."""
    asked = Asked(MONDAY, MONDAY + DAY)
    price = refresh("BTCUSD").price
    item = SymbolRefresh("BTCUSD", price, bars(MONDAY, 288), asked=asked)
    result = RefreshWriter(connection).write(ms(MONDAY + DAY), call(), [item])
    assert (result.changed, result.bars_written) == (("BTCUSD",), 288)
    assert statuses(connection) == {"01-05": ("complete", 288)}
