"""Which assets a round asks for, and how many calls it will take."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from db.symbols import StoredAsset
from market.feeds import FEEDS, Feed
from worker.batch import slot_of
from worker.capabilities import Capabilities
from worker.selection import calls_for, is_current, is_due
from worker.work import bars_request, price_request

V3, SNAPSHOT, GROUPED, END_OF_DAY = FEEDS
ROUND = timedelta(minutes=30)
TUESDAY = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
SUNDAY = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)


def asset(
    ticker: str = "X:BTCUSD",
    *,
    seen: datetime | None = None,
    as_of: datetime | None = None,
    every_s: int | None = 1800,
    source: str = "snapshot",
) -> StoredAsset:
    return StoredAsset(
        ticker.split(":")[1],
        ticker,
        "crypto",
        update_frequency_seconds=every_s,
        last_price=None if seen is None else Decimal(1),
        as_of=as_of or seen,
        source=source,
        observed_at_ms=None if seen is None else int(seen.timestamp() * 1000),
    )


def only(feed: Feed) -> Capabilities:
    """A key that may use one feed."""

    class Only(Capabilities):
        def __init__(self) -> None:
            pass

        def price_feed_for(self, ticker: str, now: datetime, count: int = 1) -> Feed:
            return feed

        def seen_at(self, ticker: str, feed: Feed, now: datetime) -> datetime:
            return now

    return Only()


@pytest.mark.parametrize(
    ("every_s", "age", "due"),
    [
        (1800, timedelta(minutes=29, seconds=40), True),  # asked for by the last round, at once
        (1800, timedelta(minutes=16), True),  # nearer to this round than to the next
        (1800, timedelta(minutes=14), False),
        (3600, timedelta(minutes=29, seconds=40), False),
        (3600, timedelta(minutes=59, seconds=40), True),
        (60, timedelta(seconds=1), True),  # more often than the rounds come
        (None, timedelta(seconds=1), True),
    ],
)
def test_due_in_the_round_that_is_nearest_to_its_time(
    every_s: int | None, age: timedelta, due: bool
) -> None:
    assert is_due(asset(seen=TUESDAY - age, every_s=every_s), V3, TUESDAY, ROUND) is due


def test_what_was_never_refreshed_is_due() -> None:
    assert is_due(asset(), V3, TUESDAY, ROUND)


def test_nothing_is_due_in_a_closed_market_whose_last_price_is_stored() -> None:
    friday = datetime(2026, 11, 20, 22, 30, tzinfo=UTC)
    stored = asset("C:EURUSD", seen=friday, every_s=60)
    assert is_current(stored, V3, SUNDAY)
    assert not is_due(stored, V3, SUNDAY, ROUND)
    assert is_due(asset("C:EURUSD", every_s=60), V3, SUNDAY, ROUND)  # never refreshed


def test_a_day_that_is_stored_does_not_become_newer() -> None:
    day_end = datetime(2026, 11, 24, 0, 0, tzinfo=UTC)
    stored = asset(seen=TUESDAY, as_of=day_end, source="aggregates")
    assert is_current(stored, END_OF_DAY, TUESDAY)
    assert not is_current(stored, END_OF_DAY, TUESDAY + timedelta(hours=12))
    assert not is_current(stored, V3, TUESDAY)


@pytest.mark.parametrize(
    ("feed", "count", "calls"),
    [
        *[(V3, 3, 1), (V3, 251, 2), (V3, 0, 0), (SNAPSHOT, 3, 3)],
        *[(GROUPED, 0, 0), (GROUPED, 300, 1), (END_OF_DAY, 3, 3)],
    ],
)
def test_calls_of_a_batch(feed: Feed, count: int, calls: int) -> None:
    assert calls_for([asset() for _ in range(count)], only(feed), TUESDAY, {}) == calls


def test_a_whole_markets_day_takes_a_call_for_each_market() -> None:
    assets = [asset("C:EURUSD"), asset("C:XAUUSD"), asset("X:BTCUSD")]
    assert calls_for(assets, only(GROUPED), TUESDAY, {}) == 2


def test_calls_leave_out_what_is_current() -> None:
    friday = datetime(2026, 11, 20, 22, 30, tzinfo=UTC)
    assets = [asset("C:EURUSD", seen=friday), asset("X:BTCUSD", seen=friday)]
    assert calls_for(assets, only(SNAPSHOT), SUNDAY, {}) == 1


def test_bars_wait_apart_from_the_price_and_go_alone() -> None:
    price, bars = price_request(asset()), bars_request(asset())
    assert price.symbol != bars.symbol
    assert not price.solo
    assert bars.solo
    assert price.payload["symbol"] == bars.payload["symbol"] == "BTCUSD"
    assert price.payload["ticker"] == bars.payload["ticker"] == "X:BTCUSD"


def test_slots_are_multiples_of_the_interval() -> None:
    for now in (0, 1, 299_999, 300_000, 1_763_923_456_789):
        slot = slot_of(now, 300_000)
        assert slot % 300_000 == 0
        assert slot <= now < slot + 300_000
