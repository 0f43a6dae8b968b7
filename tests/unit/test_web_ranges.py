"""Which range the page of an asset shows where the address names no end."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from flask import Flask

from web.pages.ranges import RANGES, span_of

MIDNIGHT = datetime(2026, 11, 27, tzinfo=UTC)
FIRST = MIDNIGHT - timedelta(days=30)
LAST_BAR = MIDNIGHT - timedelta(minutes=5)


@pytest.mark.parametrize("name", RANGES)
@pytest.mark.parametrize("minutes", [1, 7, 359, 361, 720, 1439, 1440, 3 * 1440])
def test_most_of_it_holds_bars_whatever_the_time_of_day(name: str, minutes: int) -> None:
    now = MIDNIGHT + timedelta(minutes=minutes)
    with Flask("tests").test_request_context("/asset"):
        span = span_of(name, now, (FIRST, LAST_BAR))
    length = RANGES[name][1]
    assert span.end - span.start == length
    assert MIDNIGHT - span.start >= length * 0.7
    assert span.end >= min(now, MIDNIGHT), "the newest bars are shown"


def test_live_bars_end_now() -> None:
    now = MIDNIGHT + timedelta(minutes=7)
    with Flask("tests").test_request_context("/asset"):
        assert span_of("1d", now, (FIRST, LAST_BAR)).end == MIDNIGHT + timedelta(minutes=15)
        assert span_of("6h", now, None).end == MIDNIGHT + timedelta(minutes=10)
