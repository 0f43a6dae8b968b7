"""Which stretches without bars are closed hours, which are holes, and which are just quiet."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pytest

from db.coverage import DayStatus
from db.reading import StoredBar
from market.hours import sessions_between
from market.tickers import AssetKind
from web.pages.candles import Chart, Span, draw

HOUR = timedelta(hours=1)
MONDAY = datetime(2026, 1, 5, tzinfo=UTC)
LATER = MONDAY + timedelta(days=30)


def bar(at: datetime, open_: str = "10", close: str = "11") -> StoredBar:
    opens, closes = Decimal(open_), Decimal(close)
    high, low = max(opens, closes) + 1, min(opens, closes) - 1
    return StoredBar(at, opens, high, low, closes, Decimal(1), 1, 12, True)


def day(status: str, bars: int = 24, asked_at: datetime | None = LATER) -> DayStatus:
    return DayStatus("X", MONDAY.date(), status, bars, 24, asked_at)


def chart(
    bars: list[StoredBar],
    days: dict[date, DayStatus],
    *,
    start: datetime = MONDAY,
    hours: int = 24,
    kind: AssetKind = AssetKind.CRYPTO,
    now: datetime = LATER,
) -> Chart:
    span = Span(start, start + hours * HOUR, HOUR)
    drawn = draw(bars, span, sessions_between(kind, span.start, span.end), days, now)
    assert drawn is not None
    return drawn


@pytest.mark.parametrize(
    ("status", "kind"),
    [("missing", "hole"), ("sparse", "hole"), ("complete", None), ("closed", None)],
)
def test_no_bar_is_a_hole_only_where_the_day_lacks_some(status: str, kind: str | None) -> None:
    drawn = chart([bar(MONDAY)], {MONDAY.date(): day(status)})
    assert [gap.kind for gap in drawn.gaps] == ([kind] if kind else [])
    if kind:
        [hole] = drawn.gaps
        assert (hole.start, hole.end) == (MONDAY + HOUR, MONDAY + 24 * HOUR)
        assert hole.x == pytest.approx(100 / 24, abs=0.01)


def test_a_day_without_a_row_was_never_asked_for() -> None:
    [hole] = chart([bar(MONDAY)], {}).gaps
    assert (hole.kind, hole.why) == ("hole", "never asked for")


def test_bars_of_a_running_day_are_awaited_from_when_it_was_asked_for() -> None:
    asked_at, now = MONDAY + 6 * HOUR, MONDAY + 9.5 * HOUR
    pending = {MONDAY.date(): day("pending", 1, asked_at)}
    [gap] = chart([bar(MONDAY)], pending, now=now).gaps
    assert gap.kind == "awaited"
    assert (gap.start, gap.end) == (MONDAY + 6 * HOUR, MONDAY + 9 * HOUR)


def test_closed_hours_are_shaded_and_are_no_holes() -> None:
    friday = datetime(2026, 1, 9, 20, tzinfo=UTC)
    bars = [bar(friday), bar(friday + HOUR)]
    drawn = chart(bars, {friday.date(): day("sparse")}, start=friday, kind=AssetKind.FOREX)
    [gap] = drawn.gaps
    assert (gap.kind, gap.start) == ("closed", friday + 2 * HOUR)
    assert gap.x + gap.width == pytest.approx(100)


def test_a_candle_lies_within_its_slot_and_tells_its_direction() -> None:
    bars = [bar(MONDAY, "10", "11"), bar(MONDAY + HOUR, "11", "10"), bar(MONDAY + 2 * HOUR)]
    bars[2] = bar(MONDAY + 2 * HOUR, "10", "10")
    drawn = chart(bars, {MONDAY.date(): day("complete")})
    assert [candle.kind for candle in drawn.candles] == ["rise", "fall", "flat"]
    for number, candle in enumerate(drawn.candles):
        assert number * 100 / 24 < candle.left < candle.x < (number + 1) * 100 / 24
        assert candle.high < candle.top <= candle.top + candle.height <= candle.low + 1
    assert drawn.candles[0].change == pytest.approx(0.1)
    assert len({label.at for label in drawn.prices}) >= 3


@pytest.mark.parametrize("price", ["0.00000123", "1.1", "88757.7", "0"])
def test_prices_of_any_size_have_a_scale(price: str) -> None:
    drawn = chart([bar(MONDAY, price, price)], {MONDAY.date(): day("complete")})
    flat = [bar(MONDAY, price, price)]
    flat[0] = replace(flat[0], high=Decimal(price), low=Decimal(price))
    assert chart(flat, {MONDAY.date(): day("complete")}).prices
    assert drawn.prices


def test_no_bars_make_no_picture() -> None:
    span = Span(MONDAY, MONDAY + 24 * HOUR, HOUR)
    assert draw([], span, [], {}, LATER) is None
