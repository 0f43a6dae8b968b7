"""Sums of hours, quantiles of waits, and when the series are whole."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from db.hours import HourFigures
from health.usage import DAY, HOUR, Usage, capacity, history_whole_at, quantile_s

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)


def buckets(**counts: int) -> list[int]:
    found = [0] * 12
    for place, count in counts.items():
        found[int(place[1:])] = count
    return found


def test_quantiles_lie_within_their_bucket() -> None:
    assert quantile_s(buckets(b0=10), 0.5) == pytest.approx(0.5)
    assert quantile_s(buckets(b0=10, b1=10), 0.95) == pytest.approx(1 + 4 * 0.9)
    assert quantile_s(buckets(b11=1), 0.5) == 86_400
    assert quantile_s(buckets(), 0.5) is None
    assert quantile_s([], 0.5) is None


def test_hours_are_summed_with_their_waits_and_causes() -> None:
    hours = [
        HourFigures(NOON - HOUR, NOON, prices=5, refused=1, idle_ms=500, waits=buckets(b0=2),
                    causes={"hold": 60}),
        HourFigures(NOON, NOON, bars=2, history=3, idle_ms=1500, waits=buckets(b1=2),
                    causes={"hold": 1, "blocked": 5}),
        HourFigures(NOON, NOON, waits=[9]),
    ]  # fmt: skip
    usage = Usage.of(hours, NOON + HOUR / 2)
    assert (usage.calls, usage.refused, usage.idle_s) == (10, 1, 2)
    assert usage.causes == {"hold": 61, "blocked": 5}
    assert usage.p50_s == pytest.approx(1)
    assert usage.observed == 1.5 * HOUR
    assert Usage.of([], NOON).observed == timedelta()


def test_history_takes_the_calls_that_nothing_else_needs() -> None:
    """100 of 300 calls an hour go to prices, so 50 take a quarter of an hour."""
    usage = Usage.of([HourFigures(NOON, NOON, prices=60, bars=40, history=70)], NOON + HOUR)
    whole = history_whole_at(50, usage, 5, 60_000, NOON + HOUR)
    assert whole == NOON + HOUR + HOUR / 4
    assert history_whole_at(0, usage, 5, 60_000, NOON) == NOON
    assert history_whole_at(50, usage, 1, 60_000, NOON) is None, "60 an hour leave none"
    assert history_whole_at(50, usage, None, 60_000, NOON) is None


def test_a_plan_allows_its_limit_in_each_window() -> None:
    assert capacity(5, 60_000, DAY) == 7200
    assert capacity(None, 60_000, DAY) is None
