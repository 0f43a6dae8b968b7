"""The sandbox's prices: pure functions of ticker and time, bars that agree, hours."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from local.sandbox.errors import UnusableFile
from local.sandbox.hours import DAY_MS, is_open, open_minutes, open_spans
from local.sandbox.instruments import Instrument, currencies, instrument, load_instruments
from local.sandbox.series import SandboxBar, Series
from market.tickers import AssetKind
from settings.checkout import CATALOGUE

MINUTE: Final = 60_000


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


def series_of(*tickers: str) -> Series:
    return Series({ticker: instrument(ticker) for ticker in tickers})


@cache
def shared() -> Series:
    return series_of("C:XAUUSD", "C:EURUSD", "C:GBPUSD", "C:EURGBP", "X:BTCUSD", "C:USDIDR")


@cache
def crossing() -> Series:
    return series_of(*DOLLARS.values(), *CROSSES)


MOMENTS = st.integers(ms("2025-01-01"), ms("2026-12-31"))
TICKERS = st.sampled_from(["C:XAUUSD", "C:EURUSD", "X:BTCUSD", "C:USDIDR"])


@settings(max_examples=30, deadline=None)
@given(TICKERS, MOMENTS)
def test_the_same_ticker_and_time_have_the_same_quote(ticker: str, now_ms: int) -> None:
    quote = shared().at(ticker, now_ms)
    assert quote == series_of(ticker).at(ticker, now_ms)
    assert 0 < quote.bid < quote.ask
    assert quote.at_ms <= now_ms
    assert is_open(shared().instruments[ticker].kind, quote.at_ms)


def test_another_process_sees_the_same_price() -> None:
    code = (
        "from local.sandbox.series import Series;"
        "from local.sandbox.instruments import instrument as i;"
        "print(Series({'C:XAUUSD': i('C:XAUUSD')}).at('C:XAUUSD', 1790000000000).last)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(done.stdout) == shared().at("C:XAUUSD", 1790000000000).last


@settings(max_examples=25, deadline=None)
@given(TICKERS, MOMENTS)
def test_bars_of_every_length_tell_the_same_story(ticker: str, now_ms: int) -> None:
    day = now_ms // DAY_MS * DAY_MS
    minutes = shared().bars(ticker, day, day + DAY_MS, MINUTE)
    fives = shared().bars(ticker, day, day + DAY_MS, 5 * MINUTE)
    whole = shared().bars(ticker, day, day + DAY_MS, DAY_MS)
    assert len(minutes) == open_minutes(shared().instruments[ticker].kind, day, day + DAY_MS)
    for bar in minutes + fives + whole:
        assert bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high
        assert bar.start_ms % MINUTE == 0
        assert bar.low <= bar.vwap <= bar.high
    for five in fives:
        inside = [m for m in minutes if five.start_ms <= m.start_ms < five.start_ms + 5 * MINUTE]
        assert hull(inside) == hull([five])
    assert [hull(minutes)] * len(whole) == [hull([bar]) for bar in whole]


def hull(bars: list[SandboxBar]) -> tuple[float, float, float, float, float, int] | None:
    if not bars:
        return None
    high, low = max(bar.high for bar in bars), min(bar.low for bar in bars)
    volume = round(sum(bar.volume for bar in bars), 8)
    return bars[0].open, high, low, bars[-1].close, volume, sum(bar.ticks for bar in bars)


def test_the_bar_in_progress_grows_and_nothing_is_known_before_it_happens() -> None:
    start = ms("2026-11-24T02:05:00")
    bars = [
        shared().bars("X:BTCUSD", start, start + 15 * MINUTE, 5 * MINUTE, now_ms=start + after)[-1]
        for after in (0, 90_000, 299_999)
    ]
    assert [bar.start_ms for bar in bars] == [start] * 3
    assert [bar.ticks for bar in bars] == [1, 5, 15]
    assert bars[2] == shared().bars("X:BTCUSD", start, start + 1, 5 * MINUTE)[0]


@pytest.mark.slow
def test_prices_move_by_as_much_as_their_market_does() -> None:
    start = ms("2026-01-01")
    days = {
        ticker: shared().bars(ticker, start, start + 200 * DAY_MS, DAY_MS)
        for ticker in ("C:USDIDR", "C:EURUSD", "C:XAUUSD", "X:BTCUSD")
    }
    ranges = [sum(bar.high / bar.low - 1 for bar in bars) / len(bars) for bars in days.values()]
    assert ranges == sorted(ranges)


DOLLARS: Final = {"EUR": "C:EURUSD", "JPY": "C:USDJPY", "XAU": "C:XAUUSD", "BTC": "X:BTCUSD"}
CROSSES: Final = ["C:EURJPY", "C:XAUEUR", "C:XAUJPY", "X:BTCEUR", "X:BTCJPY", "X:BTCXAU"]


def in_dollars(code: str, price_of: Callable[[str], float]) -> float:
    price = price_of(DOLLARS[code])
    return 1 / price if code == "JPY" else price


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(st.sampled_from(CROSSES), MOMENTS)
@example("X:BTCEUR", ms("2026-11-21T12:00:00"))  # Saturday
@example("C:XAUEUR", ms("2026-11-24T22:30:00"))  # metals pause, currencies do not
@example("C:XAUEUR", ms("2026-11-22T22:30:00"))  # Sunday: currencies have opened, metals have not
def test_pairs_agree_with_each_other_at_every_instant(cross: str, now_ms: int) -> None:
    series = crossing()

    def middle(ticker: str) -> float:
        quote = series.at(ticker, now_ms)
        assert quote.bid <= quote.last <= quote.ask
        return (quote.bid + quote.ask) / 2

    base, quote = cross[2:5], cross[5:8]
    implied = in_dollars(base, middle) / in_dollars(quote, middle)
    assert middle(cross) == pytest.approx(implied, rel=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(CROSSES), MOMENTS, st.sampled_from([MINUTE, 5 * MINUTE, DAY_MS]))
def test_bars_agree_as_well_wherever_both_markets_are_open(
    cross: str, now_ms: int, step_ms: int
) -> None:
    day = now_ms // DAY_MS * DAY_MS

    def closes(ticker: str) -> dict[int, float]:
        bars = crossing().bars(ticker, day, day + DAY_MS, step_ms)
        return {bar.start_ms: bar.close for bar in bars}

    base, quote = closes(DOLLARS[cross[2:5]]), closes(DOLLARS[cross[5:8]])
    for start_ms, close in closes(cross).items():
        if start_ms in base and start_ms in quote:
            sides = {DOLLARS[cross[2:5]]: base[start_ms], DOLLARS[cross[5:8]]: quote[start_ms]}
            implied = in_dollars(cross[2:5], sides.__getitem__) / in_dollars(
                cross[5:8], sides.__getitem__
            )
            assert close == pytest.approx(implied, rel=1e-4)


@pytest.mark.slow
def test_prices_stay_near_the_levels_of_the_table() -> None:
    for ticker, level in (("C:XAUUSD", 4085), ("X:BTCUSD", 91_000), ("C:EURUSD", 1.158)):
        days = crossing().bars(ticker, ms("2026-01-01"), ms("2027-01-01"), DAY_MS)
        assert all(level / 1.25 < bar.low <= bar.high < level * 1.25 for bar in days)


@pytest.mark.parametrize(
    ("kind", "at", "opened"),
    [
        (AssetKind.FOREX, "2026-11-20T21:59:59", True),  # Friday, winter: 17:00 ET = 22:00 UTC
        (AssetKind.FOREX, "2026-11-20T22:00:00", False),
        (AssetKind.FOREX, "2026-07-17T20:59:59", True),  # summer: 21:00 UTC
        (AssetKind.FOREX, "2026-07-17T21:00:00", False),
        (AssetKind.FOREX, "2026-11-21T12:00:00", False),
        (AssetKind.FOREX, "2026-11-22T21:59:59", False),  # Sunday
        (AssetKind.FOREX, "2026-11-22T22:00:00", True),
        (AssetKind.METAL, "2026-11-22T22:30:00", False),
        (AssetKind.METAL, "2026-11-22T23:00:00", True),
        (AssetKind.METAL, "2026-11-24T22:30:00", False),  # the daily break
        (AssetKind.FOREX, "2026-11-24T22:30:00", True),
        (AssetKind.CRYPTO, "2026-11-21T12:00:00", True),
    ],
)
def test_hours(kind: AssetKind, at: str, opened: bool) -> None:
    assert is_open(kind, ms(at)) is opened


@given(st.sampled_from(AssetKind), st.integers(20_000, 22_000))
def test_open_spans_lie_in_their_day_in_order(kind: AssetKind, day: int) -> None:
    edges = [edge for span in open_spans(kind, day) for edge in span]
    assert edges == sorted(set(edges))
    assert all(day * DAY_MS <= edge <= (day + 1) * DAY_MS for edge in edges)


def test_a_week_has_its_hours_also_when_the_clocks_change() -> None:
    for monday in ("2026-03-02", "2026-03-09", "2026-10-26", "2026-11-02", "2026-07-06"):
        week = ms(monday), ms(monday) + 7 * DAY_MS
        hours = {kind: open_minutes(kind, *week) / 60 for kind in AssetKind}
        assert hours[AssetKind.CRYPTO] == 168
        assert hours[AssetKind.FOREX] in (119, 120, 121)
        assert hours[AssetKind.METAL] == hours[AssetKind.FOREX] - 5


def test_a_closed_market_shows_its_last_price_and_nothing_of_today() -> None:
    quote = shared().at("C:EURUSD", ms("2026-11-21T12:00:00"))  # Saturday
    assert ms("2026-11-20T21:59:00") < quote.at_ms < ms("2026-11-20T22:00:00")
    assert quote.day is None
    assert quote.minute is None
    assert quote.previous_day is not None
    assert quote.previous_day.start_ms == ms("2026-11-20")
    saturday = ms("2026-11-21")
    assert shared().bars("C:EURUSD", saturday, saturday + DAY_MS, 5 * MINUTE) == []


# --- instruments ------------------------------------------------------------------------------


def test_the_catalogue_that_ships() -> None:
    with CATALOGUE.open(encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert 60 <= len(rows) <= 120
    assert len({row["symbol"] for row in rows}) == len(rows)
    first = [(row["symbol"], row["polygon_ticker"], row["asset_type"]) for row in rows[:3]]
    assert first == [
        ("XAUUSD", "C:XAUUSD", "forex"),
        ("EURUSD", "C:EURUSD", "forex"),
        ("BTCUSD", "X:BTCUSD", "crypto"),
    ]
    critical = [row for row in rows if row["priority"] == "CRITICAL"]
    assert {row["update_frequency_seconds"] for row in critical} == {"300"}
    assert len(critical) == 3
    symbols = {row["symbol"]: row["priority"] for row in rows}
    assert symbols["GBPUSD"] == symbols["USDJPY"] == "HIGH"
    assert (symbols["ETHUSDT"], symbols["XAGUSD"]) == ("MEDIUM", "LOW")
    for row in rows:
        found = instrument(row["polygon_ticker"])
        assert row["polygon_ticker"].split(":")[1] == row["symbol"]
        assert (found.kind is AssetKind.CRYPTO) == (row["asset_type"] == "crypto")
        assert {found.base.code, found.quote.code} <= set(currencies())


def test_every_shipped_ticker_has_a_sane_price() -> None:
    instruments = load_instruments([CATALOGUE])
    series = Series(instruments)
    for ticker, known in instruments.items():
        quote = series.at(ticker, ms("2026-11-24T12:00"))
        assert known.level / 1.5 < quote.last < known.level * 1.5, ticker
        assert (quote.ask - quote.bid) / quote.bid < 0.01, ticker


def test_more_tickers_come_from_a_file(tmp_path: Path) -> None:
    plain = tmp_path / "plain.txt"
    plain.write_text("X:WAGMIUSD\n\nC:EURXXX\n", "utf-8")
    found = load_instruments([plain])
    assert list(found) == ["X:WAGMIUSD", "C:EURXXX"]
    assert isinstance(found["X:WAGMIUSD"], Instrument)
    assert found["X:WAGMIUSD"].level == instrument("X:WAGMIUSD").level > 0


@pytest.mark.parametrize(
    ("text", "told"),
    [("polygon_ticker\nC:EURUSD\neurusd\n", "line 3: 'eurusd'"), ("nonsense\n", "line 1")],
)
def test_a_bad_ticker_file_names_file_line_and_cause(tmp_path: Path, text: str, told: str) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text(text, "utf-8")
    with pytest.raises(UnusableFile, match=told) as caught:
        load_instruments([bad])
    assert str(bad) in str(caught.value)


def test_a_missing_ticker_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UnusableFile, match="cannot be read"):
        load_instruments([tmp_path / "nowhere.csv"])
