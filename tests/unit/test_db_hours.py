"""What a note adds to the figures of the present hour."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from db.hours import HourFigures, Reading, RoundFigures, added

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
FIRST = Reading(NOON + timedelta(minutes=1), prices=100, idle_ms=7, waits=(10, 0))


def noted(*readings: Reading) -> HourFigures:
    figures: HourFigures | None = None
    for reading in readings:
        figures = added(figures, reading, None)
    assert figures is not None
    return figures


def later(minutes: int, **counters: Any) -> Reading:
    return replace(FIRST, at=NOON + timedelta(minutes=minutes), **counters)


def test_the_first_note_counts_nothing_of_what_was_before() -> None:
    figures = noted(FIRST)
    assert (figures.hour, figures.prices, figures.calls, figures.idle_ms) == (NOON, 0, 0, 0)


def test_each_note_adds_what_was_counted_since_the_last_one() -> None:
    figures = noted(FIRST, later(5, prices=103, bars=2), later(9, prices=104, bars=2, history=4))
    assert (figures.prices, figures.bars, figures.history, figures.calls) == (4, 2, 4, 10)
    assert noted(FIRST, later(5, waits=(12, 3)), later(6, waits=(12, 4))).waits == [2, 4]


def test_an_hour_begins_with_what_was_counted_since_the_last_note_of_the_one_before() -> None:
    figures = noted(FIRST, later(59, prices=150), later(61, prices=152))
    assert (figures.hour, figures.prices) == (NOON + timedelta(hours=1), 2)


def test_counters_that_began_anew_are_counted_whole() -> None:
    figures = noted(FIRST, later(5, prices=110), later(6, prices=3, waits=(1, 0)))
    assert figures.prices == 13
    assert figures.waits == [1, 0]


def test_buckets_of_another_version_are_not_mixed() -> None:
    figures = noted(FIRST, later(5, waits=(11, 0)), later(6, waits=(1, 2, 3)))
    assert figures.waits == [1, 2, 3]


def test_a_cause_counts_from_the_note_before_but_never_for_long() -> None:
    figures = noted(FIRST, later(3, causes=["hold"]), later(55, causes=["hold", "blocked"]))
    assert figures.causes == {"hold": 120 + 600, "blocked": 600}


def test_what_a_round_found_stands_until_the_next_one() -> None:
    one = added(None, FIRST, RoundFigures(95, 3, 40))
    two = added(one, later(61), None)
    assert (two.assets, two.stale, two.lacking) == (95, 3, 40)
    three = added(two, later(62), RoundFigures(95, 0, 39))
    assert (three.assets, three.stale, three.lacking) == (95, 0, 39)


def test_a_clock_that_steps_back_subtracts_nothing() -> None:
    figures = noted(FIRST, later(0, prices=101, causes=["hold"]))
    assert figures.prices == 1
    assert figures.causes == {"hold": 0}
