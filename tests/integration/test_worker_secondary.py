"""The secondary round: what it asks for, what finds room, and what it tells."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from structlog.testing import capture_logs

from db.symbols import Asset, SymbolRepository
from local.sandbox import SandboxServer
from queueing import Bury, Death, Priority
from tests.kit import worker as worker_kit
from tests.kit.rounds import NAMES, OPEN, at, order, round_, set_stored, start_batch
from tests.kit.worker import CRITICAL, OTHERS, Site, settings_for
from worker.history import tell_new_history


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


def test_everything_that_is_not_critical_by_priority(opened: OPEN) -> None:
    site = opened()
    told = round_(site)
    prices = [s for s in order(site) if "/" not in s]
    assert prices == ["GBPUSD", "USDJPY", "ETHUSDT", "SOLUSD"]
    assert not set(NAMES) & set(order(site))
    assert told.enqueued == 8  # four prices, and their bars behind them
    assert (told.pending, told.current, told.refused, told.dead) == (0, 0, (), ())
    assert order(site)[4:] == [f"{s}/5m" for s in prices]
    assert round_(site).pending == 8


def test_the_stalest_first_within_a_priority(opened: OPEN) -> None:
    site = opened()
    now = datetime.now(UTC)
    set_stored(site, "GBPUSD", now - timedelta(days=365))
    set_stored(site, "USDJPY", now - timedelta(days=730))
    at(site, datetime(2026, 11, 24, 12, 0, 1, tzinfo=UTC))
    round_(site)
    assert order(site)[:2] == ["USDJPY", "GBPUSD"]


def test_a_full_queue_refuses_by_name_and_keeps_the_stalest(opened: OPEN) -> None:
    """Of whatever band: else the low ones would never find room."""
    site = opened(queue_max_size=3)
    at(site, datetime(2026, 11, 24, 12, 0, 1, tzinfo=UTC))
    set_stored(site, "GBPUSD", datetime(2026, 11, 24, 10, 0, tzinfo=UTC))
    set_stored(site, "USDJPY", datetime(2026, 11, 24, 10, 1, tzinfo=UTC))
    told = round_(site)
    assert [s for s in order(site) if "/" not in s] == ["ETHUSDT", "SOLUSD"]
    assert {"GBPUSD", "USDJPY"} <= set(told.refused)
    assert told.enqueued == 3
    site.context.queue.enqueue([], Priority.LOW)
    start_batch(site)
    assert order(site)[:3] == NAMES, "the batch never fails for space"


def test_bars_find_a_place_beside_prices_and_never_take_theirs(opened: OPEN) -> None:
    """Prices are asked for anew in each round, bars wait for calls that nobody else needs."""
    site = opened(queue_max_size=8)
    many = [Asset(f"A{n:04}USD", f"X:A{n:04}USD", "crypto", None, 4) for n in range(20)]
    SymbolRepository(site.connection).upsert_many(many)
    for _ in range(3):
        told = round_(site)
        waiting = order(site)
        assert sum("/" in name for name in waiting) == 2, "a quarter is theirs"
        assert len(waiting) == 8
        assert len(told.refused) == 2 * 24 - 8
        site.context.queue.cancel([name for name in waiting if "/" not in name])


def test_bars_take_the_places_that_prices_never_need(opened: OPEN) -> None:
    site = opened(queue_max_size=7)
    for _ in range(2):
        round_(site)
        assert sum("/" in name for name in order(site)) == 3
        assert sum("/" not in name for name in order(site)) == 4
        site.context.queue.cancel([name for name in order(site) if "/" not in name])


def test_the_default_bound_of_the_queue_grows_with_the_assets(opened: OPEN) -> None:
    """More assets than QUEUE_MAX_SIZE has room for: none is refused, nor are its bars."""
    site = opened()
    many = [Asset(f"A{n:04}USD", f"X:A{n:04}USD", "crypto", None, 4) for n in range(600)]
    SymbolRepository(site.connection).upsert_many(many)
    told = round_(site)
    assert told.refused == ()
    assert told.enqueued == 2 * (600 + len(OTHERS))


def test_not_before_its_own_interval(opened: OPEN) -> None:
    site = opened()
    at(site, datetime(2026, 11, 24, 12, 0, 1, tzinfo=UTC))
    set_stored(site, "GBPUSD", datetime(2026, 11, 24, 11, 30, 20, tzinfo=UTC))  # the last round's
    set_stored(site, "USDJPY", datetime(2026, 11, 24, 11, 50, tzinfo=UTC))  # by hand, just now
    told = round_(site)
    assert "GBPUSD" in order(site)
    assert "USDJPY" not in order(site)
    assert told.current == 1


def test_a_round_after_every_round_refreshes_every_asset(opened: OPEN) -> None:
    """Each round asks for all assets whose own interval is that of the rounds."""
    site = opened()
    at(site, datetime(2026, 11, 24, 12, 0, 1, tzinfo=UTC))
    for _ in range(3):
        round_(site)
        refreshed = {s for s in order(site) if "/" not in s}
        assert refreshed == {"GBPUSD", "USDJPY", "ETHUSDT", "SOLUSD"}
        site.context.redis.flushall()
        for symbol in refreshed:  # some time after the round
            seen = datetime.fromtimestamp(site.context.redis_now_ms() / 1000 + 45, UTC)
            set_stored(site, symbol, seen)
        site.context.shift(1_800_000)


def test_without_priority_assets_all_are_secondary(opened: OPEN) -> None:
    site = opened(priority_assets_enabled="false")
    round_(site)
    assert set(NAMES) <= set(order(site))
    assert {item.priority for item in site.context.queue.peek(100)} == {2, 3, 4, 5}


def test_dead_ones_are_told(opened: OPEN) -> None:
    site = opened()
    site.ask("SOLUSD")
    call = site.claim()
    site.context.queue.end(
        call.claimed, [Bury("SOLUSD", Death.INVALID, "no such ticker")], answered=True
    )
    told = round_(site)
    assert told.dead == ("SOLUSD",)


def test_the_size_of_history_is_told_while_a_series_is_new(opened: OPEN) -> None:
    site = opened(history_days=6)
    saturday = datetime(2026, 11, 28, 12, tzinfo=UTC)

    def told() -> list[dict[str, Any]]:
        with capture_logs() as logs:
            tell_new_history(site.connection, site.context.settings, saturday)
        return [dict(line) for line in logs if line["event"] == "history.begins"]

    [line] = told()
    assert (line["new_series"], line["series"], line["days"]) == (7, 7, 7)
    forex, gold, coin = 24 + 4 * 288 + 264, 12 + 4 * 276 + 264, 7 * 288  # Sunday to Saturday
    assert line["bars"] == 3 * forex + gold + 3 * coin
    assert line["megabytes"] == line["bars"] * 170 // 1_000_000
    cover = """INSERT INTO market_data.coverage_days
        (symbol_id, timeframe, day, asked_at, whole, bars, refused, expected)
        SELECT id, '5m', '2026-11-26', now(), true, 1, 0, 1 FROM trading.symbols
        WHERE symbol = %s"""
    for count, asset in enumerate((*CRITICAL, *OTHERS), 1):
        site.connection.execute(cover.encode(), (asset.symbol,))
        assert [line["new_series"] for line in told()] == [7 - count][: count < 7]
