"""The page of one asset, and its bars as CSV, on real servers."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time, timedelta

import pytest
from redis import Redis

from db.connection import connect
from db.coverage import Asked
from db.refresh import RefreshWriter
from db.rows import SymbolRefresh
from db.symbols import Asset, SymbolRepository
from local.servers.postgres import PostgresServer
from queueing import Priority, Request
from settings import Settings
from tests.kit.db_data import CRITICAL, bar, call, price, run
from tests.kit.health import System
from tests.kit.markup import check_markup

BTC = "asset?symbol=BTCUSD"
ODD = "X&Y/Z's"


@pytest.fixture
def today() -> date:
    return datetime.now(UTC).date()


@pytest.fixture
def system(redis_url: str, migrated_url: str, r: Redis, today: date) -> System:
    """BTCUSD has two days of bars, the older one with a hole of four hours."""
    with connect(migrated_url) as connection:
        odd = Asset(ODD, "X:ODDUSD", "crypto", "<b>odd</b>", 4)
        SymbolRepository(connection).upsert_many([*CRITICAL, odd])
        now = datetime.now(UTC)
        for back, bars in ((2, range(240)), (1, range(288))):
            start = datetime.combine(today - timedelta(days=back), time.min, UTC)
            stored = [bar(5 * n, f"{100 + n % 7}", start=start) for n in bars]
            asked = Asked(start, start + timedelta(days=1))
            row = SymbolRefresh("BTCUSD", price("101.5", as_of=now), stored, asked=asked)
            audit = call(
                f"c{back}", tickers=("X:BTCUSD",), started_at=now - timedelta(minutes=back)
            )
            RefreshWriter(connection).write(int(now.timestamp() * 1000) - back, audit, [row])
        failed = call(
            "c0",
            tickers=("X:BTCUSD",),
            started_at=now,
            outcome="ServerError",
            status=502,
            error="the provider answered 502",
        )
        RefreshWriter(connection).write(int(now.timestamp() * 1000), failed, [])
    found = System(
        Settings.model_validate({"REDIS_URL": redis_url, "DATABASE_URL": migrated_url}), r
    )
    found.make_healthy()
    return found


def page(system: System, path: str) -> str:
    answer = system.client.get(path)
    assert answer.status_code == 200, answer.text
    check_markup(answer.text)
    return answer.text


def test_it_shows_bars_a_hole_days_calls_and_age(system: System, today: date) -> None:
    end = f"{today - timedelta(days=1)}T00:00"
    text = page(system, f"{BTC}&range=1d&to={end}")
    assert text.count('<g class="') == 80, "20 of 24 hours, in quarters"
    assert text.count('class="hole" x="83.333%"') == 1, "four hours of the day lack"
    assert "1 hole." in text
    assert 'class="closed" x=' not in text
    assert "1 complete" in text
    assert "1 sparse" in text
    assert "the provider answered 502" in text
    assert "2 fetches" in text
    assert "around the clock" in text


def test_a_whole_day_has_no_hole(system: System, today: date) -> None:
    text = page(system, f"{BTC}&range=1d&to={today}T00:00")
    assert text.count("<g class=") == 96
    assert "0 holes." in text


@pytest.mark.parametrize("range_", ["6h", "1d", "1w", "1m", "6m", "odd"])
def test_every_range_is_a_page(system: System, range_: str) -> None:
    text = page(system, f"{BTC}&range={range_}")
    assert '<g class="' in text
    assert 'aria-current="true"' in text


@pytest.mark.parametrize(
    "odd", ["open = 'NaN'", "high = 'Infinity'", "low = '-Infinity'", "volume = 'NaN'", "high = 1"]
)
def test_a_bar_of_another_programs_that_makes_no_sense_hides_no_other(
    system: System, today: date, odd: str
) -> None:
    last = f"{today - timedelta(days=1)}T12:00Z"
    run(
        system.context.settings.database_url,
        f"UPDATE market_data.ohlcv_5m SET {odd} WHERE ts = '{last}'",
    )
    text = page(system, f"{BTC}&range=6h&to={today - timedelta(days=1)}T15:00")
    assert text.count("<g class=") == 72 - ("volume" not in odd)
    assert page(system, f"{BTC}&range=1w")


def test_a_call_of_an_odd_time_hides_no_other(system: System) -> None:
    url = system.context.settings.database_url
    for call_id, at in (("c1", "infinity"), ("c2", "294276-01-01")):
        query = "UPDATE data_sources.api_calls SET started_at = '{}' WHERE call_id = '{}'"
        run(url, query.format(at, call_id))
    assert "the provider answered 502" in page(system, BTC)


def test_an_address_that_makes_no_sense_counts_as_not_asked(system: System) -> None:
    for odd in ("to=yesterday", "to=0001-01-01", "to=9999-12-31T23:59", "range=%00&to=%27"):
        assert '<g class="' in page(system, f"{BTC}&{odd}")
    assert "No bars lie here" in page(system, f"{BTC}&to=2001-01-01")
    assert "No bar of EURUSD is stored yet" in page(system, "asset?symbol=EURUSD")


def test_it_tells_what_its_refresh_waits_for(system: System) -> None:
    system.context.queue.enqueue([Request("BTCUSD")], Priority.HIGH)
    system.context.limiter.block(60_000, "maintenance")
    text = page(system, BTC)
    assert "queued, high" in text
    assert "maintenance" in text


def test_other_spellings_lead_to_it_and_unknown_ones_to_near_names(system: System) -> None:
    answer = system.client.get("asset?symbol=btc/usd&range=1w")
    assert (answer.status_code, answer.location) == (302, "asset?symbol=BTCUSD&range=1w")
    answer = system.client.get("asset?symbol=BTCUSX")
    assert answer.status_code == 404
    assert 'href="asset?symbol=BTCUSD"' in answer.text
    check_markup(answer.text)
    for odd in ("<script>", "%00", "", "%F0%9F%92%A9" * 40):
        answer = system.client.get(f"asset?symbol={odd}")
        assert answer.status_code == 404
        assert "<script>" not in answer.text.partition("<main")[2]


def test_an_odd_symbol_stays_text(system: System) -> None:
    [link] = set(re.findall(r'href="(asset\?symbol=X%[^"]+)"', page(system, "freshness")))
    text = page(system, link)
    assert "<b>odd</b>" not in text
    assert "WHERE symbol = &#39;X&amp;Y/Z&#39;&#39;s&#39;" in text


def test_bars_come_as_csv_within_limits(system: System, today: date) -> None:
    client, range_ = system.client, f"from={today - timedelta(days=2)}&to={today}"
    answer = client.get(f"bars.csv?symbol=BTCUSD&{range_}")
    assert (answer.status_code, answer.mimetype) == (200, "text/csv")
    lines = answer.text.splitlines()
    assert lines[0] == "symbol,ts,open,high,low,close,volume,trades"
    assert lines[1].startswith(f"BTCUSD,{today - timedelta(days=2)}T00:00:00+00:00,100,101,99,100,")
    assert len(lines) == 1 + 240 + 288
    assert len(client.get(f"bars.csv?symbol=BTCUSD&timeframe=1h&{range_}").text.splitlines()) == 45
    whole = {"symbol": "BTCUSD", "from": str(today - timedelta(days=2)), "to": str(today)}
    for wrong, told in (
        ({"timeframe": "2h"}, "timeframe: one of 5m"),
        ({"from": "x"}, "from and to: instants"),
        ({"from": str(today)}, "from and to: instants"),
        ({"from": "2020-01-01"}, "At most 50000 bars at once"),
    ):
        answer = client.get("bars.csv", query_string=whole | wrong)
        assert (answer.status_code, told in answer.text) == (400, True), answer.text
    assert client.get(f"bars.csv?symbol=NONE&{range_}").status_code == 404


def test_it_stays_readable_while_postgresql_is_away(
    system: System, pg_server: PostgresServer
) -> None:
    page(system, BTC)
    pg_server.stop()
    try:
        text = page(system, BTC)
        assert "101.5" in text
        assert "PostgreSQL" in text
        range_ = "from=2026-01-01&to=2026-01-02"
        assert system.client.get(f"bars.csv?symbol=BTCUSD&{range_}").status_code == 503
    finally:
        pg_server.start()
