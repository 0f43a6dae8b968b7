"""Whose new bars a round asks for: so often that none is older than its asset's interval."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from db.coverage import Hole
from db.symbols import StoredAsset
from market.coverage import BAR, SETTLES, next_bar_end
from market.tickers import AssetKind
from worker.follow import EVERY, _is_due
from worker.series import SeriesNeed

NOON = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
TODAY = NOON.date()


def asset(every_s: int | None) -> StoredAsset:
    return StoredAsset("BTCUSD", "X:BTCUSD", "crypto", update_frequency_seconds=every_s)


def need(asked_at: datetime | None) -> SeriesNeed:
    return SeriesNeed(TODAY, Hole("BTCUSD", TODAY, TODAY, 1, again=False, asked_at=asked_at))


@pytest.mark.parametrize("every_s", [60, 300, 301, 400, 899, 900, 1800, 3600])
def test_no_bar_becomes_older_than_the_interval_before_it_is_stored(every_s: int) -> None:
    """A day of rounds: each bar is asked for within its asset's interval, and not in every round
    where the interval is longer."""
    at, asked_at, asked = NOON + SETTLES, NOON + SETTLES, 0
    while at < NOON + timedelta(days=1):
        at += EVERY
        if _is_due(asset(every_s), need(asked_at), at):
            oldest = asked_at - SETTLES + BAR  # ended when it was not yet taken
            assert at - oldest <= timedelta(seconds=max(every_s, 15)), at
            asked_at, asked = at, asked + 1
    assert asked <= 86_400 // max(every_s - 300, 300) + 1, "no more often than it must be"


def test_a_series_that_was_never_asked_for_is_due_and_one_that_lacks_nothing_is_not() -> None:
    assert _is_due(asset(1800), need(None), NOON)
    assert _is_due(asset(None), need(NOON), NOON)
    assert not _is_due(asset(60), SeriesNeed(TODAY, None), NOON)


@pytest.mark.parametrize(
    ("kind", "after", "ends"),
    [
        (AssetKind.CRYPTO, "2026-11-24T12:00:00", "2026-11-24T12:05:00"),
        (AssetKind.CRYPTO, "2026-11-24T12:04:59.9", "2026-11-24T12:05:00"),
        (AssetKind.CRYPTO, "2026-11-24T23:57:00", "2026-11-25T00:00:00"),
        (AssetKind.FOREX, "2026-11-20T21:54:00", "2026-11-20T21:55:00"),  # Friday, the last hour
        (AssetKind.FOREX, "2026-11-20T22:00:00", "2026-11-22T22:05:00"),  # closed until Sunday
        (AssetKind.METAL, "2026-11-24T22:00:00", "2026-11-24T23:05:00"),  # its daily pause
    ],
)
def test_the_next_bar_is_one_with_trading_in_it(kind: AssetKind, after: str, ends: str) -> None:
    at = datetime.fromisoformat(after).replace(tzinfo=UTC)
    assert next_bar_end(kind, at) == datetime.fromisoformat(ends).replace(tzinfo=UTC)


def test_the_day_of_the_clock_changes_is_walked_through() -> None:
    """Metals pause an hour earlier (in UTC) from the second Sunday of March on."""
    sunday = datetime.combine(date(2026, 3, 8), datetime.min.time(), UTC)
    assert next_bar_end(AssetKind.METAL, sunday) == sunday + timedelta(hours=22, minutes=5)
