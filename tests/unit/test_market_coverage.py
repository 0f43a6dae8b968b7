"""How much one call brings, and how much a day has."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.coverage import CALL_MINUTES, bars_of_day, days_between, days_per_call
from market.tickers import AssetKind

CRYPTO, FOREX, METAL = AssetKind.CRYPTO, AssetKind.FOREX, AssetKind.METAL


@given(kind=st.sampled_from(list(AssetKind)), first=st.dates(date(2024, 1, 1), date(2026, 11, 1)))
def test_one_call_brings_that_many_days(kind: AssetKind, first: date) -> None:
    days = days_between(first, first + timedelta(days=days_per_call(kind) - 1))
    assert sum(bars_of_day(kind, day) for day in days) * 5 <= CALL_MINUTES


@pytest.mark.parametrize(
    ("kind", "day", "bars"),
    [
        (CRYPTO, date(2026, 11, 21), 288),
        (FOREX, date(2026, 11, 24), 288),
        (FOREX, date(2026, 11, 20), 264),  # a Friday in winter ends at 22:00
        (FOREX, date(2026, 7, 10), 252),  # in summer at 21:00
        (FOREX, date(2026, 11, 21), 0),
        (FOREX, date(2026, 11, 22), 24),
        (METAL, date(2026, 11, 24), 276),
        (METAL, date(2026, 11, 22), 12),
    ],
)
def test_bars_of_a_day(kind: AssetKind, day: date, bars: int) -> None:
    assert bars_of_day(kind, day) == bars


def test_both_ends_belong_to_a_range() -> None:
    first = date(2026, 2, 27)
    assert [*days_between(first, first)] == [first]
    assert len([*days_between(first, date(2026, 3, 2))]) == 4
    assert [*days_between(first, first - timedelta(days=1))] == []
