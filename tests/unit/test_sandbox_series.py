"""The sandbox's prices: pure functions of ticker and time, bars that agree, hours, recordings."""

from __future__ import annotations

import csv
import gzip
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from local.sandbox.errors import UnusableFile
from local.sandbox.hours import DAY_MS, is_open, open_minutes, open_spans
from local.sandbox.instruments import Instrument, instrument, load_instruments
from local.sandbox.recorded import BAR_COLUMNS, TICK_COLUMNS, Tracks
from local.sandbox.series import SandboxBar, Series
from local.sandbox.tracks import Label
from market.tickers import AssetKind
from settings.checkout import CATALOGUE

MINUTE: Final = 60_000


def ms(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1000


def series_of(*tickers: str, data_dir: Path | None = None) -> Series:
    instruments = {ticker: instrument(ticker) for ticker in tickers}
    return Series(instruments) if data_dir is None else Series(instruments, Tracks(data_dir))


@cache
def shared() -> Series:
    return series_of("C:XAUUSD", "C:EURUSD", "C:GBPUSD", "C:EURGBP", "X:BTCUSD", "C:USDIDR")


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


def hull(bars: list[SandboxBar]) -> tuple[float, float, float, float, int] | None:
    if not bars:
        return None
    high, low = max(bar.high for bar in bars), min(bar.low for bar in bars)
    return bars[0].open, high, low, bars[-1].close, sum(bar.ticks for bar in bars)


def test_the_bar_in_progress_grows_and_nothing_is_known_before_it_happens() -> None:
    start = ms("2026-11-24T02:05:00")
    bars = [
        shared().bars("X:BTCUSD", start, start + 15 * MINUTE, 5 * MINUTE, now_ms=start + after)[-1]
        for after in (0, 90_000, 299_999)
    ]
    assert [bar.start_ms for bar in bars] == [start] * 3
    assert [bar.ticks for bar in bars] == [1, 5, 15]
    assert bars[2] == shared().bars("X:BTCUSD", start, start + 1, 5 * MINUTE)[0]


def test_prices_move_by_as_much_as_their_market_does() -> None:
    start = ms("2026-01-01")
    days = {
        ticker: shared().bars(ticker, start, start + 200 * DAY_MS, DAY_MS)
        for ticker in ("C:USDIDR", "C:EURUSD", "C:XAUUSD", "X:BTCUSD")
    }
    ranges = [sum(bar.high / bar.low - 1 for bar in bars) / len(bars) for bars in days.values()]
    assert ranges == sorted(ranges)
    assert all(2_300 < bar.close < 6_000 for bar in days["C:XAUUSD"])
    assert all(0.9 < bar.close < 1.5 for bar in days["C:EURUSD"])


def test_crosses_agree_with_the_pairs_they_come_from() -> None:
    now = ms("2026-11-24T12:00:00")
    euro, pound, cross = (shared().at(t, now).last for t in ("C:EURUSD", "C:GBPUSD", "C:EURGBP"))
    assert cross == pytest.approx(euro / pound, rel=1e-4)


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


# --- recordings -------------------------------------------------------------------------------


def write(path: Path, columns: tuple[str, ...], rows: Sequence[tuple[float, ...]]) -> None:
    with gzip.open(path, "wt", encoding="utf-8", newline="") as out:
        csv.writer(out, lineterminator="\n").writerows([columns, *rows])


def test_recorded_ticks_come_back_at_their_time_of_day(tmp_path: Path) -> None:
    ticks = [(0, 1.10948), (61_000, 1.11), (62_500, 1.12), (82_800_000, 1.13)]
    write(tmp_path / "EURUSD-ticks.csv.gz", TICK_COLUMNS, ticks)
    series = series_of("C:EURUSD", data_dir=tmp_path)
    today = ms("2026-11-24")
    quote = series.at("C:EURUSD", today + 120_000)
    assert (quote.at_ms, quote.bid) == (today + 62_500, 1.12)
    assert quote.ask > quote.bid
    bars = series.bars("C:EURUSD", today, today + DAY_MS, MINUTE)
    assert [(b.start_ms - today, b.open, b.high, b.low, b.close, b.ticks) for b in bars] == [
        (0, 1.10948, 1.10948, 1.10948, 1.10948, 1),
        (MINUTE, 1.11, 1.12, 1.11, 1.12, 2),
        (82_800_000, 1.13, 1.13, 1.13, 1.13, 1),
    ]
    assert series.at("C:EURUSD", ms("2026-11-21T12:00")).bid == 1.12  # Friday closed at 22:00
    assert series.track("C:EURUSD").label is Label.RECORDED


def thirty_minute_bars(days: int) -> list[tuple[float, ...]]:
    rows: list[tuple[float, ...]] = []
    for index in range(days * 48):
        price = 5000.0 + index
        down = index % 2
        rows.append(
            (1_506_816_000 + index * 1800, price + down, price + 9.25, price - 7, price + 1, 90.0)
        )
    del rows[5:7]  # the recording has a gap
    return rows


def test_interpolated_bars_add_up_to_what_was_recorded_and_keep_gaps(tmp_path: Path) -> None:
    recorded = thirty_minute_bars(days=3)
    write(tmp_path / "BTCUSD-30min.csv.gz", BAR_COLUMNS, recorded)
    series = series_of("X:BTCUSD", "X:ETHUSD", data_dir=tmp_path)
    today = ms("2026-11-24")
    bars = series.bars("X:BTCUSD", today, today + DAY_MS, 30 * MINUTE)
    which = today // DAY_MS % 2  # the last day is dropped
    expected = [row for row in recorded if (row[0] - 1_506_816_000) // 86_400 == which]
    assert [(b.open, b.high, b.low, b.close, b.volume) for b in bars] == [r[1:] for r in expected]
    assert [b.start_ms % DAY_MS for b in bars] == [row[0] * 1000 % DAY_MS for row in expected]
    assert len(series.bars("X:BTCUSD", today, today + DAY_MS, 5 * MINUTE)) == 6 * len(expected)
    assert series.track("X:BTCUSD").label is Label.INTERPOLATED
    assert series.track("X:ETHUSD").label is Label.SYNTHETIC


def test_one_day_of_bars_is_laid_out_by_time_of_day(tmp_path: Path) -> None:
    begin = ms("2021-10-27T06:25") // 1000
    rows = [
        (begin + i * 300, 4000.0 + i, 4001.0 + i, 3999.0 + i, 4000.5 + i, 1) for i in range(300)
    ]
    write(tmp_path / "ETHUSDT-5min.csv.gz", BAR_COLUMNS, rows)
    series = series_of("X:ETHUSDT", data_dir=tmp_path)
    today = ms("2026-11-24")
    bars = series.bars("X:ETHUSDT", today, today + DAY_MS, 5 * MINUTE)
    assert [b.start_ms for b in bars] == list(range(today, today + DAY_MS, 5 * MINUTE))
    at_start = next(b for b in bars if b.start_ms == today + 23_100_000)  # 06:25
    assert (at_start.open, at_start.high, at_start.low, at_start.close) == rows[0][1:5]
    assert bars[0].open == rows[211][1]  # midnight follows 23:55


@pytest.mark.parametrize(
    "content",
    [b"not gzip", gzip.compress(b"ms,price\n1,x\n"), gzip.compress(b"a,b\n1,2\n"), b""],
    ids=["not gzip", "not a number", "other columns", "empty"],  # gzip's bytes hold the time
)
def test_a_damaged_recording_is_one_line_that_names_the_file(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "EURUSD-ticks.csv.gz").write_bytes(content)
    with pytest.raises(UnusableFile, match=r"EURUSD-ticks.csv.gz .*fetch again"):
        Tracks(tmp_path)


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
        assert found.base.kind != "unknown"


def test_every_shipped_ticker_has_a_sane_price() -> None:
    instruments = load_instruments([CATALOGUE])
    series = Series(instruments)
    for ticker, known in instruments.items():
        quote = series.at(ticker, ms("2026-11-24T12:00"))
        assert known.level / 5 < quote.last < known.level * 5, ticker
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
