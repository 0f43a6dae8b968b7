"""How instants, durations and lists are written."""

from __future__ import annotations

import pytest

from health.texts import at, at_or_none, clock, names, span

NOW_MS = 1_764_000_000_000


def test_instants_are_utc() -> None:
    assert at(0) == "1970-01-01T00:00:00Z"
    assert (at_or_none(0), at_or_none(None)) == (None, None)
    assert clock(NOW_MS + 5_000, NOW_MS) == "16:00:05 UTC (in 5.0 s)"
    assert clock(NOW_MS - 90_000, NOW_MS) == "15:58:30 UTC (1 min 30 s ago)"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0.0 s"),
        (0.44, "0.4 s"),
        (42.4, "42 s"),
        (59.7, "1 min"),
        (200, "3 min 20 s"),
        (300, "5 min"),
        (7500, "2 h 5 min"),
        (90_000, "1 d 1 h"),
        (86_400, "1 d"),
    ],
)
def test_durations_have_two_units_at_most(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_long_lists_are_cut() -> None:
    assert names(["A", "B"]) == "A, B"
    assert names(list("ABCDEFG")) == "A, B, C, D, E and 2 more"
