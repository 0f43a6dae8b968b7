"""Numbers, times and names as they come over the wire."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.errors import InvalidTicker, MarketError, NoTrading, default_message
from market.models import SnapshotItem, to_instant, to_number, to_price
from market.tickers import AssetKind, asset_kind, bare, check_symbol, check_ticker, market_of
from market.tiers import TIERS, Tier


@pytest.mark.parametrize(
    ("value", "expected"),
    [(1, "1"), (1.1, "1.1"), ("1.10", "1.10"), (Decimal("0.00000001"), "1E-8"), ("-2e3", "-2E+3")],
)
def test_numbers_stay_exact(value: Any, expected: str) -> None:
    assert str(to_number(value)) == expected


@pytest.mark.parametrize(
    "value",
    [True, None, "", "nan", "NaN", "inf", "1_000", " 1", "1,5", "0x1", "१", [], {}, "1e999999",
     float("nan"), float("inf"), Decimal("NaN"), Decimal("1e400"), "9" * 99,
     "1" * 100 + "x"],
)  # fmt: skip
def test_what_is_no_sane_number_is_refused(value: Any) -> None:
    with pytest.raises(ValueError, match="number"):
        to_number(value)


@given(st.one_of(st.text(max_size=200), st.floats(), st.integers(), st.none(), st.booleans()))
def test_no_input_escapes_as_another_error(value: Any) -> None:
    for read in (to_number, to_price, to_instant):
        try:
            read(value)
        except ValueError:
            continue


def test_a_zero_is_not_a_price_and_a_negative_one_is_an_error() -> None:
    assert to_price(0) is None
    assert to_price("0.000") is None
    with pytest.raises(ValueError, match="negative"):
        to_price(-1)


@pytest.mark.parametrize(
    "value",
    [1763923456, 1763923456000, 1763923456000000, 1763923456000000000, "1763923456000",
     1.763923456e12],
)  # fmt: skip
def test_times_are_told_apart_by_size(value: Any) -> None:
    assert to_instant(value) == datetime(2025, 11, 23, 18, 44, 16, tzinfo=UTC)


def test_nanoseconds_are_cut_and_no_time_is_none() -> None:
    assert to_instant(1763923456000001999) == datetime(2025, 11, 23, 18, 44, 16, 1, tzinfo=UTC)
    assert to_instant(0) is None
    for wrong in (-1, 5, 10**23):
        with pytest.raises(ValueError, match="time"):
            to_instant(wrong)


def test_absent_null_and_unknown_fields_do_no_harm() -> None:
    item = SnapshotItem.model_validate(
        {"ticker": "C:EURUSD", "session": None, "last_quote": {"bid": "1.1"}, "new_field": [1]}
    )
    assert item.session.close is None
    assert item.last_quote.bid == Decimal("1.1")
    assert item.last_quote.mid is None


@pytest.mark.parametrize("ticker", ["C:EURUSD", "X:BTCUSD", "X:1INCHUSD", "X:TUSD"])
def test_good_tickers(ticker: str) -> None:
    assert check_ticker(ticker) == ticker


@pytest.mark.parametrize(
    "ticker",
    [
        "",
        "EURUSD",
        "c:EURUSD",
        "C:EUR",
        "C:EUR/USD",
        "C:EURUSD\n",
        "I:SPX",
        "C:EURUSD,X:A",
        "AAPL",
        "O:SPY251219C00650000",
    ],
)
def test_bad_tickers(ticker: str) -> None:
    with pytest.raises(InvalidTicker, match="not a ticker") as caught:
        check_ticker(ticker)
    assert isinstance(caught.value, ValueError)
    assert caught.value.sent is False


@pytest.mark.parametrize(
    "text", ["EURUSD", "eurusd", "EUR/USD", "eur-usd", "C:EURUSD", " c:eur/usd "]
)
def test_spellings_of_one_asset_are_alike(text: str) -> None:
    assert bare(text) == "EURUSD"


def test_symbols() -> None:
    assert check_symbol("BRK.B") == "BRK.B"
    for bad in ("", "eurusd", "A B", "A" * 21, "A\n", "A*"):
        with pytest.raises(InvalidTicker):
            check_symbol(bad)


def test_kinds() -> None:
    assert [asset_kind(t) for t in ("C:EURUSD", "C:XAUUSD", "X:BTCUSD")] == list(AssetKind)
    assert [market_of(t) for t in ("C:EURUSD", "C:XAUUSD", "X:BTCUSD")] == [
        "forex",
        "forex",
        "crypto",
    ]


def test_plans() -> None:
    assert set(TIERS) == set(Tier)
    assert [plan.calls_per_window for plan in TIERS.values()] == [5, None, None, None]
    assert [plan.websocket for plan in TIERS.values()] == [False, False, True, True]
    assert [plan.end_of_day for plan in TIERS.values()] == [True, False, False, False]


def test_every_error_has_a_message_of_its_own() -> None:
    classes = MarketError.__subclasses__()
    assert len(classes) == 12
    plain = [error for error in classes if error is not NoTrading]
    assert all(str(error()) == default_message(error) != "" for error in plain)
    day = date(2026, 12, 25)
    assert str(NoTrading(day=day)) == f"{default_message(NoTrading)} (HTTP 200)"
