"""How old a price was: weighted by time, and only while its market was open."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from health.staleness import staleness

MONDAY = datetime(2026, 1, 5, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return MONDAY + timedelta(minutes=minutes)


def test_a_steady_fetch_has_the_ages_of_its_interval() -> None:
    known = staleness([at(5 * n) for n in range(13)], [(at(0), at(60))])
    assert known is not None
    assert (known.median_s, known.p95_s) == pytest.approx((150, 285))
    assert known.fetches == 13


def test_a_long_gap_weighs_as_long_as_it_lasted() -> None:
    """50 gaps of a minute and one of 50: in all the price was younger than a minute for 51 min."""
    fetched = [*(at(n) for n in range(51)), at(100)]
    known = staleness(fetched, [(at(0), at(100))])
    assert known is not None
    assert known.median_s == pytest.approx(60 * 50 / 51)
    assert known.p95_s == pytest.approx(45 * 60)


def test_closed_hours_do_not_count_and_an_age_begins_at_the_opening() -> None:
    sessions = [(at(0), at(10)), (at(1000), at(1010))]
    known = staleness([at(0), at(1010 - 1e-9)], sessions)
    assert known is not None
    assert known.p95_s == pytest.approx(9.5 * 60)


def test_nothing_is_known_without_a_fetch_or_an_open_hour() -> None:
    assert staleness([], [(at(0), at(10))]) is None
    assert staleness([at(0)], []) is None
