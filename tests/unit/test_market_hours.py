"""When markets trade, and when a call can bring nothing newer. 2026-11-20 is a Friday (EST, so
forex closes at 22:00 UTC); 2026-07-17 is a Friday in summer (EDT, 21:00 UTC)."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.aggregates import Aggregates
from market.freshness import newest_allowed_day, nothing_newer
from market.hours import is_open, last_close, trades_on
from market.snapshots import SnapshotV3
from market.tickers import AssetKind

EUR, GOLD, BTC = "C:EURUSD", "C:XAUUSD", "X:BTCUSD"


def at(text: str) -> datetime:
    return datetime.fromisoformat(f"2026-{text}").replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("ticker", "when", "expected"),
    [
        (EUR, "11-20 21:59", True),
        (EUR, "11-20 22:00", False),
        (EUR, "11-22 21:59", False),
        (EUR, "11-22 22:00", True),
        (EUR, "11-24 22:30", True),
        (EUR, "07-17 20:59", True),
        (EUR, "07-17 21:00", False),
        (EUR, "07-19 21:00", True),
        (EUR, "03-06 21:59", True),  # the Friday before clocks go forward, and the Sunday after
        (EUR, "03-08 21:00", True),
        (GOLD, "11-22 22:30", False),
        (GOLD, "11-22 23:00", True),
        (GOLD, "11-24 21:59", True),
        (GOLD, "11-24 22:30", False),
        (GOLD, "11-24 23:00", True),
        (GOLD, "11-20 23:30", False),
        (BTC, "11-21 12:00", True),
    ],
)
def test_open(ticker: str, when: str, expected: bool) -> None:
    assert is_open(ticker, at(when)) is expected


def test_last_close() -> None:
    saturday = at("11-21 12:00")
    assert last_close(EUR, saturday) == last_close(GOLD, saturday) == at("11-20 22:00")
    assert last_close(GOLD, at("11-24 22:30")) == at("11-24 22:00")
    assert last_close(BTC, saturday) is None


@given(st.integers(min_value=0, max_value=15 * 366 * 86400))
def test_hours_agree_with_each_other(seconds: int) -> None:
    when = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds)
    for ticker in (EUR, GOLD):
        closed = last_close(ticker, when)
        assert closed is not None
        assert closed <= when
        assert not is_open(ticker, closed)
        assert is_open(ticker, closed - timedelta(seconds=1))
        if not is_open(ticker, when):
            assert when - closed <= timedelta(hours=49)
            assert not is_open(ticker, closed + (when - closed) / 2)


def test_trading_days() -> None:
    friday = date(2026, 11, 20)
    days = [friday + timedelta(days=n) for n in range(4)]
    assert [trades_on(AssetKind.FOREX, day) for day in days] == [True, False, True, True]
    assert [trades_on(AssetKind.METAL, day) for day in days] == [True, False, True, True]
    assert all(trades_on(AssetKind.CRYPTO, day) for day in days)


@pytest.mark.parametrize(
    ("when", "forex", "crypto"),
    [
        ("11-20 00:00", "11-19", "11-19"),
        ("11-20 23:59", "11-19", "11-19"),
        ("11-21 00:00", "11-20", "11-20"),
        ("11-22 12:00", "11-20", "11-21"),
        ("11-23 12:00", "11-22", "11-22"),
        ("11-24 12:00", "11-23", "11-23"),
    ],
)
def test_newest_allowed_day(when: str, forex: str, crypto: str) -> None:
    assert newest_allowed_day(at(when), AssetKind.FOREX).isoformat() == f"2026-{forex}"
    assert newest_allowed_day(at(when), AssetKind.METAL).isoformat() == f"2026-{forex}"
    assert newest_allowed_day(at(when), AssetKind.CRYPTO).isoformat() == f"2026-{crypto}"


LIVE, DAILY = SnapshotV3(), Aggregates()


@pytest.mark.parametrize(
    ("ticker", "stored", "now", "expected"),
    [
        (EUR, None, "11-21 12:00", False),
        (EUR, "11-20 21:58", "11-20 21:59", False),  # open
        (EUR, "11-20 21:58", "11-21 12:00", True),
        (EUR, "11-20 19:00", "11-21 12:00", False),
        (EUR, "11-20 21:58", "11-22 22:01", False),  # open again
        (GOLD, "11-24 21:59", "11-24 22:30", True),  # the daily pause
        (BTC, "11-21 11:59", "11-21 12:00", False),
    ],
)
def test_nothing_newer_live(ticker: str, stored: str | None, now: str, expected: bool) -> None:
    assert nothing_newer(ticker, at(stored) if stored else None, LIVE, at(now)) is expected


def test_a_thin_market_is_settled_by_when_it_was_asked() -> None:
    stored, now = at("11-20 19:00"), at("11-21 12:00")
    asked_late, asked_early = at("11-20 22:30"), at("11-20 21:00")
    assert nothing_newer(EUR, stored, LIVE, now, observed_at=asked_late)
    assert not nothing_newer(EUR, stored, LIVE, now, observed_at=asked_early)


@pytest.mark.parametrize(
    ("ticker", "stored", "now", "expected"),
    [
        (BTC, "11-24 00:00", "11-24 00:10", True),  # the bar that ends at midnight
        (BTC, "11-24 00:00", "11-25 00:10", False),
        (BTC, "11-23 15:00", "11-24 12:00", False),  # one bar proves itself, not its day
        (BTC, "11-24 03:00", "11-24 12:00", True),
        (EUR, "11-20 22:00", "11-21 12:00", True),
        (EUR, "11-20 22:00", "11-22 12:00", True),
        (EUR, "11-20 22:00", "11-23 12:00", False),  # Sunday's last hours
        (EUR, "11-23 00:00", "11-23 12:00", True),
        (EUR, "11-20 21:58", "11-21 12:00", True),
        (EUR, "11-19 21:58", "11-21 12:00", False),
    ],
)
def test_nothing_newer_end_of_day(ticker: str, stored: str, now: str, expected: bool) -> None:
    assert nothing_newer(ticker, at(stored), DAILY, at(now)) is expected
    assert nothing_newer(ticker, at(stored), DAILY, at(now), day_settled=True)
    assert not nothing_newer(ticker, None, DAILY, at(now), day_settled=True)
