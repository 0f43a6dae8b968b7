"""The batch: what it asks for, in which order, and how often."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from db.symbols import Asset, SymbolRepository
from local.sandbox import SandboxServer
from queueing import Bury, Death, GiveBack, Priority
from tests.kit import worker as worker_kit
from tests.kit.rounds import NAMES, OPEN, at, order, round_, set_stored, start_batch
from tests.kit.waiting import clear_of_the_end
from tests.kit.worker import (
    CRITICAL,
    OTHERS,
    Site,
    assert_no_key_stays,
    settings_for,
    traded_yesterday,
)
from worker import tracking
from worker.critical import last_known
from worker.tracking import pause


@pytest.fixture
def provider() -> Iterator[SandboxServer]:
    with worker_kit.sandbox("starter") as server:
        yield server


@pytest.fixture
def opened(redis_url: str, migrated_url: str, provider: SandboxServer) -> Iterator[OPEN]:
    with ExitStack() as stack:

        def open_(**more: Any) -> Site:
            settings = settings_for(redis_url, migrated_url, provider.url, **more)
            return stack.enter_context(Site.open(settings, (*CRITICAL, *OTHERS)))

        yield open_


def test_a_batch_asks_for_the_critical_assets_in_their_order(opened: OPEN) -> None:
    site = opened()
    site.ask("GBPUSD", at=Priority.HIGH)
    slot = start_batch(site)
    prices = [s for s in order(site) if not s.endswith("/5m")]
    assert prices == [*NAMES, "GBPUSD"]
    record = site.context.queue.batch_record(slot)
    assert record is not None
    assert list(record.assets) == NAMES
    assert record.planned_at_ms % 300_000 == 0
    assert record.finished_at_ms is None
    while site.context.queue.size:
        site.refresher.refresh(site.claim(max_items=1))
    record = site.context.queue.batch_record(slot)
    assert record is not None
    assert record.updated == NAMES
    assert record.failed == []
    assert record.calls == 3
    assert record.finished_at_ms is not None
    assert_no_key_stays(site.context.redis, site.context.settings)


def test_a_slot_has_one_batch(opened: OPEN) -> None:
    site, other = opened(), opened()
    slot = start_batch(site)
    before = order(site)
    site.refresher.refresh(site.claim())
    assert start_batch(other) == slot
    assert start_batch(site) == slot
    assert set(order(site)) < set(before), "nothing was asked for again"
    assert len(site.context.queue.batches(10)) == 1


def test_every_slot_has_a_batch_of_its_own(opened: OPEN) -> None:
    site = opened()
    first = start_batch(site)
    site.context.shift(300_000)
    second = start_batch(site)
    assert int(second) - int(first) == 300
    assert len(site.context.queue.batches(10)) == 2


def test_an_asset_that_nobody_knows_fails_with_the_remedy_and_the_others_go_on(
    opened: OPEN,
) -> None:
    site = opened(priority_assets="XAUUSD,NOBODY,BTCUSD")
    record = site.context.queue.batch_record(start_batch(site))
    assert record is not None
    [(symbol, error)] = record.failed
    assert symbol == "NOBODY"
    assert "assetq symbols import" in error
    assert [s for s in order(site) if "/" not in s] == ["XAUUSD", "BTCUSD"]


def test_the_batch_is_what_is_critical_and_not_paused(opened: OPEN) -> None:
    site = opened()
    symbols = SymbolRepository(site.connection)
    new = [Asset(f"{coin}USD", f"X:{coin}USD", "crypto", None, 1) for coin in ("SOL", "ADA")]
    symbols.upsert_many([*new, Asset("DOGEUSD", "X:DOGEUSD", "crypto")])
    symbols.set_active(["EURUSD"], active=False)
    start_batch(site)
    batch = ["XAUUSD", "BTCUSD", "ADAUSD", "SOLUSD"]
    assert [s for s in order(site) if "/" not in s] == batch
    assert last_known(site.context) == tuple(batch)
    round_(site)
    others = {"GBPUSD", "USDJPY", "ETHUSDT", "DOGEUSD"}
    assert {s for s in order(site) if "/" not in s} == {*batch, *others}


def test_a_batch_does_not_wait_for_an_asset_that_is_paused(opened: OPEN) -> None:
    site = opened()
    slot = start_batch(site)
    pause(site.context, site.connection, NAMES)
    record = site.context.queue.batch_record(slot)
    assert record is not None
    assert {s: o.error for s, o in record.outcomes.items()} == dict.fromkeys(
        NAMES, "its request was taken back"
    )
    assert record.finished_at_ms is not None


def test_a_batch_without_critical_assets_is_empty_and_done(opened: OPEN) -> None:
    site = opened()
    SymbolRepository(site.connection).set_active(NAMES, active=False)
    slot = start_batch(site)
    assert site.context.queue.batch_enqueued(slot), "it is not begun again"
    record = site.context.queue.batch_record(slot)
    assert record is not None
    assert (record.assets, record.finished_at_ms is None) == ((), False)


def test_critical_assets_of_the_configuration_only(opened: OPEN) -> None:
    site = opened(priority_assets="SOLUSD,XAUUSD")
    start_batch(site)
    assert [s for s in order(site) if "/" not in s] == ["SOLUSD", "XAUUSD"]


def test_a_closed_market_costs_no_call(opened: OPEN) -> None:
    """On a Sunday noon forex and gold rest: nothing is newer than Friday's last price."""
    site = opened()
    friday = datetime(2026, 11, 20, 21, 59, 30, tzinfo=UTC)
    for symbol in NAMES:
        set_stored(site, symbol, friday)
    at(site, datetime(2026, 11, 22, 12, 0, 1, tzinfo=UTC))
    record = site.context.queue.batch_record(start_batch(site))
    assert record is not None
    assert {s: o.status for s, o in record.outcomes.items()} == {
        "XAUUSD": "current",
        "EURUSD": "current",
    }
    assert [s for s in order(site) if "/" not in s] == ["BTCUSD"]
    assert record.updated == ["XAUUSD", "EURUSD"]


def test_what_was_refreshed_since_the_slot_began_is_not_asked_for_again(opened: OPEN) -> None:
    """A time ahead of the clock proves nothing. By hand all are asked for."""
    site = opened()
    noon = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)
    at(site, noon + timedelta(seconds=20))
    for symbol, seconds in (("XAUUSD", 5), ("EURUSD", -1), ("BTCUSD", 60)):
        set_stored(site, symbol, noon + timedelta(seconds=seconds))
    record = site.context.queue.batch_record(start_batch(site))
    assert record is not None
    assert record.updated == ["XAUUSD"]
    assert [s for s in order(site) if "/" not in s] == ["EURUSD", "BTCUSD"]
    assert site.context.limiter.status().batch_calls == 1, "the next batch asks for all"
    start_batch(site, by_hand=True)
    assert [s for s in order(site) if "/" not in s] == ["EURUSD", "BTCUSD", "XAUUSD"]


@pytest.mark.parametrize("refused", [(), ("snapshot_v3",)])
def test_a_first_batch_behind_an_import_does_not_wait_for_a_window(
    opened: OPEN, refused: tuple[str, ...]
) -> None:
    """The worker was there before the scheduler, and spent the calls of the window."""
    clear_of_the_end(300, 10)
    site = opened(polygon_rate_limit=5)
    for feed in refused:
        site.capabilities.refuse(feed, "not in this plan")
    site.context.limiter.reset()
    tracking.ask_at_once(site.context, site.connection, [a.symbol for a in (*CRITICAL, *OTHERS)])
    site.context.redis.delete(site.ticks.queue.key)
    site.drain(slice_s=0.5).run()
    assert site.context.limiter.available() == 0
    record = site.context.queue.batch_record(start_batch(site))
    assert record is not None
    assert record.updated == NAMES
    assert record.finished_at_ms is not None


def test_end_of_day_data_that_is_stored_costs_no_call(opened: OPEN) -> None:
    site = opened(polygon_tier="free")
    for feed in ("snapshot_v3", "snapshot"):
        site.capabilities.refuse(feed, "not in this plan")
    midnight = datetime(2026, 11, 24, 0, 0, tzinfo=UTC)
    for symbol in NAMES:
        set_stored(site, symbol, midnight, source="aggregates")
    at(site, datetime(2026, 11, 24, 12, 0, 1, tzinfo=UTC))
    slot = start_batch(site)
    record = site.context.queue.batch_record(slot)
    assert record is not None
    assert record.updated == NAMES
    assert record.finished_at_ms is not None
    assert order(site) == []
    assert site.context.limiter.status().batch_calls == 0, "and nothing is kept free for the next"

    at(site, datetime(2026, 11, 24, 23, 57, 0, tzinfo=UTC))
    start_batch(site)
    assert site.context.limiter.status().batch_calls == 2, "the next one falls into a new day"


@pytest.mark.parametrize(
    ("refused", "calls"), [((), 1), (("snapshot_v3",), 3), (("snapshot_v3", "snapshot"), 0)]
)
def test_the_next_batch_keeps_as_many_calls_free_as_it_will_make(
    opened: OPEN, refused: tuple[str, ...], calls: int
) -> None:
    """On end-of-day data the day's first batch leaves nothing to do for the next one."""
    tier = "free" if len(refused) == 2 else "starter"
    site = opened(polygon_tier=tier)
    for feed in refused:
        site.capabilities.refuse(feed, "not in this plan")
    at(site, datetime(2026, 11, 24, 12, 0, 1, tzinfo=UTC))
    start_batch(site)
    status = site.context.limiter.status()
    assert status.batch_calls == calls


@pytest.mark.parametrize(
    ("kind", "calls"),
    [(Death.POISON, 2), (Death.INVALID, 2), (Death.TRANSIENT, 3)],  # that one is asked for again
)
def test_no_call_is_kept_for_an_asset_that_was_given_up(
    opened: OPEN, kind: Death, calls: int
) -> None:
    site = opened()
    site.capabilities.refuse("snapshot_v3", "one asset per call, please")
    site.ask("EURUSD")
    call = site.claim()
    site.context.queue.end(call.claimed, [Bury("EURUSD", kind, "its reason")], answered=True)
    start_batch(site)
    assert site.context.limiter.status().batch_calls == calls


def test_a_batch_by_hand_leaves_the_slots_record_alone(opened: OPEN) -> None:
    site = opened()
    scheduled = start_batch(site)
    by_hand = start_batch(site, by_hand=True)
    assert by_hand != scheduled
    again = start_batch(site, by_hand=True)
    assert again != by_hand, "asked for twice, done twice"
    record = site.context.queue.batch_record(by_hand)
    assert record is not None
    assert list(record.assets) == NAMES
    site.context.shift(300_000)
    assert int(start_batch(site)) == int(scheduled) + 300


def test_a_batch_by_hand_before_the_slots_own_does_not_stand_in_for_it(opened: OPEN) -> None:
    site = opened()
    start_batch(site, by_hand=True)
    assert start_batch(site).isdigit()
    assert len(site.context.queue.batches(10)) == 2


def test_a_batch_by_hand_moves_no_reservation(opened: OPEN) -> None:
    """It may come in the seconds before the slot's own batch, which still needs its calls."""
    site = opened(polygon_rate_limit=5)
    slot_ms = site.context.redis_now_ms() // 300_000 * 300_000 + 300_000
    site.context.shift(slot_ms + 2_000 - site.context.redis_now_ms())
    site.context.queue.now_ms = site.context.limiter.now_ms = slot_ms + 2_000
    site.context.limiter.plan_batch(slot_ms, 300_000, 3)
    start_batch(site, by_hand=True)
    assert site.context.limiter.status().batch_at_ms == slot_ms


def test_bars_follow_the_prices_and_do_not_cut_short_their_delay(opened: OPEN) -> None:
    site = opened()
    start_batch(site)
    assert order(site) == [*NAMES, *[f"{s}/5m" for s in NAMES]]
    site.refresher.refresh(site.claim())  # the prices, in one call
    for _ in NAMES:
        call = site.claim()
        [item] = call.claimed.items
        later = GiveBack(item.symbol, delay_ms=1_800_000, error="not published yet")
        site.context.queue.end(call.claimed, [later], answered=True)
    start_batch(site, by_hand=True)  # in the same day, whenever this runs
    assert not [s for s in order(site) if s.endswith("/5m")]
    assert all(site.where(f"{s}/5m") == "delayed" for s in NAMES)


def test_bars_of_a_completed_day_are_fetched_once(opened: OPEN) -> None:
    site = opened()
    start_batch(site)
    site.drain().run()
    with_bars = site.one("SELECT count(DISTINCT symbol_id) FROM market_data.ohlcv_5m")
    assert with_bars == len(traded_yesterday(CRITICAL))
    start_batch(site, by_hand=True)
    assert not [s for s in order(site) if s.endswith("/5m")]
