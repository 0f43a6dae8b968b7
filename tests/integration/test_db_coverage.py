"""Coverage: what was asked for, what came, and what is still to be asked for."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

import pytest

from db.connection import Connection, connect
from db.coverage import ALONG, SETTLED, SOON, Asked, CoverageRepository, covered_days, look_again_at
from db.refresh import RefreshWriter
from db.rows import SymbolRefresh
from db.symbols import SymbolRepository
from market.coverage import bars_of_day, days_between
from market.freshness import newest_allowed_day
from market.tickers import AssetKind
from tests.kit.coverage import DAY, MONDAY, bars, holes, statuses, store
from tests.kit.db_data import CRITICAL, call, one


@pytest.fixture
def connection(migrated_url: str) -> Iterator[Connection]:
    with connect(migrated_url) as connection:
        SymbolRepository(connection).upsert_many(CRITICAL)
        yield connection


@pytest.fixture
def coverage(connection: Connection) -> CoverageRepository:
    return CoverageRepository(connection)


def test_a_day_that_runs_is_pending_until_it_was_asked_for_after_its_end(
    connection: Connection, coverage: CoverageRepository
) -> None:
    """First start at 10:02; 120 bars must not count as the day."""
    at = MONDAY + timedelta(hours=10, minutes=2)
    store(connection, at, MONDAY, MONDAY + DAY, bars(MONDAY, 120))
    assert statuses(connection) == {"01-05": ("pending", 120)}
    assert holes(coverage, at, MONDAY.date(), MONDAY.date()) is None, "no new bar yet"
    hole = holes(coverage, at + timedelta(minutes=5), MONDAY.date(), MONDAY.date())
    assert (hole.newest, hole.days, hole.again) == (MONDAY.date(), 1, False)
    store(connection, at + DAY, MONDAY, MONDAY + DAY, bars(MONDAY, 288))
    assert statuses(connection) == {"01-05": ("complete", 288)}
    assert holes(coverage, at + DAY, MONDAY.date(), MONDAY.date()) is None


@pytest.mark.parametrize("minutes", [0, 1, 6, 60, 1439])
def test_a_few_minutes_of_a_day_never_take_its_completeness(
    connection: Connection, minutes: int
) -> None:
    """Asked at 00:06 each night."""
    after = MONDAY + DAY + timedelta(minutes=1)
    store(connection, after, MONDAY, MONDAY + DAY, bars(MONDAY, 288))
    part = MONDAY + timedelta(minutes=minutes)
    store(connection, after + DAY, part + timedelta(minutes=1), MONDAY + DAY, bars(part, 1))
    assert statuses(connection)["01-05"] == ("complete", 288)


def test_days_between_are_holes_newest_first(
    connection: Connection, coverage: CoverageRepository
) -> None:
    """Off for three days, with history before and after."""
    now = MONDAY + 10 * DAY
    for day in (0, 1, 5):
        start = MONDAY + day * DAY
        store(connection, now, start, start + DAY, bars(start, 288))
    hole = holes(coverage, now, MONDAY.date(), (MONDAY + 5 * DAY).date())
    assert hole.newest == (MONDAY + 4 * DAY).date()
    assert hole.oldest == (MONDAY + 2 * DAY).date()
    assert hole.days == 3
    start, end = MONDAY + 2 * DAY, MONDAY + 5 * DAY
    store(connection, now, start, end, bars(start, 3 * 288))
    assert holes(coverage, now, MONDAY.date(), (MONDAY + 5 * DAY).date()) is None


def test_one_call_spans_what_a_call_can_bring(
    connection: Connection, coverage: CoverageRepository
) -> None:
    first = (MONDAY - 729 * DAY).date()
    hole = holes(coverage, MONDAY, first, MONDAY.date())
    assert hole.days == 730
    assert (hole.newest - hole.oldest).days == 33
    wider = coverage.newest_holes(["BTCUSD"], first, MONDAY.date(), now=MONDAY, span_days=49)
    assert (wider["BTCUSD"].newest - wider["BTCUSD"].oldest).days == 48


def test_a_half_published_day_is_asked_for_again_until_it_is_whole(
    connection: Connection, coverage: CoverageRepository
) -> None:
    """200 with bars until 05:00 only, the full day later."""
    day, at = MONDAY.date(), MONDAY + DAY + timedelta(minutes=10)
    store(connection, at, MONDAY, MONDAY + DAY, bars(MONDAY, 60))
    assert statuses(connection) == {"01-05": ("sparse", 60)}
    assert holes(coverage, at, day, day) is None, "not in a circle"
    later = at + timedelta(hours=4)
    hole = holes(coverage, later, day, day)
    assert hole.again
    store(connection, later, MONDAY, MONDAY + DAY, bars(MONDAY, 288))
    assert statuses(connection) == {"01-05": ("complete", 288)}


def test_late_repairs_arrive_by_one_second_look(
    connection: Connection, coverage: CoverageRepository
) -> None:
    day, at = MONDAY.date(), MONDAY + DAY + timedelta(minutes=10)
    store(connection, at, MONDAY, MONDAY + DAY, bars(MONDAY, 280))
    settled = MONDAY + DAY + SETTLED + ALONG
    assert holes(coverage, settled - timedelta(minutes=1), day, day) is None
    assert holes(coverage, settled, day, day).again
    store(connection, settled, MONDAY, MONDAY + DAY, bars(MONDAY, 288))
    assert statuses(connection) == {"01-05": ("complete", 288)}
    assert holes(coverage, settled + 400 * DAY, day, day) is None


def test_an_empty_weekday_costs_a_bounded_number_of_calls(
    connection: Connection, coverage: CoverageRepository
) -> None:
    """A holiday. It is looked at again while it may be unpublished, and once at the end."""
    day, now, asked = MONDAY.date(), MONDAY + DAY, 0
    while now < MONDAY + 30 * DAY:
        if holes(coverage, now, day, day):
            store(connection, now, MONDAY, MONDAY + DAY)
            asked += 1
        now += timedelta(minutes=30)
    assert 2 <= asked <= 8
    assert statuses(connection) == {"01-05": ("closed", 0)}


def test_an_answer_that_was_cut_speaks_for_the_days_before_the_cut(
    connection: Connection, coverage: CoverageRepository
) -> None:
    cut = MONDAY + DAY + timedelta(hours=13)
    came = bars(MONDAY, 288 + 156)
    store(connection, MONDAY + 9 * DAY, MONDAY, MONDAY + 3 * DAY, came, answered_to=cut)
    assert statuses(connection) == {"01-05": ("complete", 288), "01-06": ("pending", 156)}
    hole = holes(coverage, MONDAY + 9 * DAY, MONDAY.date(), (MONDAY + 2 * DAY).date())
    assert (hole.newest, hole.oldest) == (date(2026, 1, 7), date(2026, 1, 6))


def test_expected_bars_are_those_of_the_market(connection: Connection) -> None:
    """A Friday of forex ends at 21:00 or 22:00 UTC; a Saturday has none."""
    friday = MONDAY + 4 * DAY
    expected = {friday.date(): 264, date(2026, 1, 10): 0}
    came = bars(friday, 264)
    store(connection, friday + 5 * DAY, friday, friday + 2 * DAY, came, expected=expected)
    assert statuses(connection) == {"01-09": ("complete", 264), "01-10": ("closed", 0)}


def test_an_older_answer_that_arrives_late_changes_nothing(connection: Connection) -> None:
    at = MONDAY + 5 * DAY
    store(connection, at, MONDAY, MONDAY + DAY, bars(MONDAY, 288))
    store(connection, at - DAY, MONDAY, MONDAY + DAY, bars(MONDAY, 100))
    assert statuses(connection) == {"01-05": ("complete", 288)}


def test_bars_without_a_record_are_unknown(
    connection: Connection, coverage: CoverageRepository
) -> None:
    """Whatever the user's table held before."""
    item = SymbolRefresh("BTCUSD", None, bars(MONDAY, 288), source="mine")
    RefreshWriter(connection).write(1, call(), [item])
    assert statuses(connection) == {}
    assert holes(coverage, MONDAY + DAY, MONDAY.date(), MONDAY.date()).days == 1


def test_the_last_look_at_a_day_is_taken_along(
    connection: Connection, coverage: CoverageRepository
) -> None:
    """An end-of-day plan: three weeks in which one call for each published day is all."""
    first, calls = MONDAY.date(), 0
    for hours in range(6, 21 * 24, 6):
        now = MONDAY + timedelta(hours=hours)
        published = now - DAY if now.hour >= 6 else now - 2 * DAY
        newest = newest_allowed_day(published + DAY, AssetKind.FOREX)
        if newest < first or not (hole := holes(coverage, now, first, newest)):
            continue
        assert (hole.newest, hole.again, now.hour) == (newest, False, 6)
        calls += 1
        start, end = (
            datetime(day.year, day.month, day.day, tzinfo=UTC)
            for day in (hole.oldest, hole.newest + DAY)
        )
        days = list(days_between(hole.oldest, hole.newest))
        expected = {day: bars_of_day(AssetKind.FOREX, day) for day in days}
        came = [
            bar
            for day, count in expected.items()
            for bar in bars(datetime(day.year, day.month, day.day, tzinfo=UTC), count)
        ]
        store(connection, now, start, end, came, expected=expected)
    assert calls == 17, "twenty days but three Saturdays"
    unsettled = "SELECT count(*) FROM market_data.coverage_days WHERE look_again_at IS NOT NULL"
    assert one(connection, unsettled) <= 4, "all but the newest days had their last look"


def test_days_of_one_series(connection: Connection, coverage: CoverageRepository) -> None:
    store(connection, MONDAY + 9 * DAY, MONDAY, MONDAY + DAY, bars(MONDAY, 288))
    found = coverage.days("BTCUSD", MONDAY.date(), (MONDAY + 2 * DAY).date())
    assert [(day.day.day, day.status, day.bars) for day in found] == [
        (5, "complete", 288),
        (6, "missing", 0),
        (7, "missing", 0),
    ]


@pytest.mark.parametrize(
    ("symbol", "saturday"), [("BTCUSD", "missing"), ("EURUSD", "closed"), ("XAUUSD", "closed")]
)
def test_no_saturday_of_forex_is_missing(
    connection: Connection, coverage: CoverageRepository, symbol: str, saturday: str
) -> None:
    store(connection, MONDAY + 9 * DAY, MONDAY, MONDAY + DAY, bars(MONDAY, 288), symbol=symbol)
    found = coverage.days(symbol, MONDAY.date(), (MONDAY + 6 * DAY).date())
    assert [day.status for day in found[1:]] == [*["missing"] * 4, saturday, "missing"]


@pytest.mark.parametrize(
    ("asked_after", "bars_of_288", "again"),
    [
        (timedelta(0), 288, SETTLED + ALONG),
        (timedelta(0), 0, timedelta(hours=4)),
        (timedelta(hours=23), 100, timedelta(hours=27)),
        (timedelta(hours=25), 100, SETTLED + ALONG),
        (timedelta(days=3), 100, None),
        (timedelta(days=300), 0, None),
    ],
)
def test_when_a_day_is_looked_at_again(
    asked_after: timedelta, bars_of_288: int, again: timedelta | None
) -> None:
    found = look_again_at(MONDAY, MONDAY + asked_after, bars_of_288, 288)
    assert found == (None if again is None else MONDAY + again)
    assert look_again_at(MONDAY, MONDAY + asked_after, 0, 0) is None


@pytest.mark.parametrize(
    ("every", "hours", "soon"), [(1, 5, True), (1, 21, True), (3, 24, False), (7, 20, False)]
)
def test_a_day_that_stops_early_is_looked_at_soon_and_a_quiet_one_is_not(
    every: int, hours: int, soon: bool
) -> None:
    """A quiet market would cost some calls a day for gaps that no call fills."""
    starts = [MONDAY + timedelta(minutes=5 * n) for n in range(0, hours * 12, every)]
    asked_at = MONDAY + DAY + timedelta(hours=1)
    (day,) = covered_days(Asked(MONDAY, MONDAY + DAY), starts, (), asked_at)
    again = day.look_again_at
    assert again == (asked_at + SOON if soon else MONDAY + DAY + SETTLED + ALONG)
