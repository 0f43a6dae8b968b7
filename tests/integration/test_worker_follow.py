"""Bars follow the clock on a plan that counts no calls: an hour in which the clock is moved."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from db.coverage import Hole
from db.symbols import Asset
from queueing import Priority, Request
from tests.kit import worker as worker_kit
from tests.kit.worker import CRITICAL, OTHERS, Site, settings_for
from worker.batch import begin
from worker.follow import EVERY, SETTLES_MS, enqueue_new_bars
from worker.secondary import enqueue_secondary
from worker.series import SeriesNeed

TUESDAY = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)
HASTY = Asset("ADAUSD", "X:ADAUSD", "crypto", None, 2, 300)
ASSETS = (*CRITICAL, *OTHERS, HASTY)
_MS = timedelta(milliseconds=1)


class Moved:
    """A site on whose clock, as on its provider's, time passes only when the test says so."""

    def __init__(self) -> None:
        self.now_ms = int(TUESDAY.timestamp() * 1000)

    def attach(self, site: Site) -> Moved:
        self.site = site
        self.to(self.now_ms)
        return self

    def to(self, now_ms: int) -> None:
        context = self.site.context
        self.now_ms = context.queue.now_ms = context.limiter.now_ms = now_ms
        context.shift(now_ms - context.redis_now_ms())

    def drain(self) -> int:
        """Makes all calls that are due, each 20 ms after the one before; returns their number."""
        calls = 0
        while sum(self.site.context.queue.stats().queued.values()):
            self.to(self.now_ms + 20)
            self.site.refresher.refresh(self.site.claim())
            calls += 1
        return calls

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self.now_ms / 1000, UTC)

    def missing(self, symbol: str, older_than: timedelta) -> list[datetime]:
        """Bars of today that ended longer ago than that and are not stored."""
        rows = self.site.connection.execute(
            b"SELECT b.ts FROM market_data.ohlcv_5m b JOIN trading.symbols s ON s.id = b.symbol_id"
            b" WHERE s.symbol = %s",
            (symbol,),
        )
        stored = {ts for (ts,) in rows}
        at, missing = TUESDAY.replace(hour=0), []
        while at + EVERY <= self.now - older_than:
            missing += [] if at in stored else [at]
            at += EVERY
        return missing


@pytest.fixture
def moved(redis_url: str, migrated_url: str) -> Iterator[Moved]:
    clock = Moved()
    with worker_kit.sandbox("starter", now_ms=lambda: clock.now_ms) as provider:
        settings = settings_for(redis_url, migrated_url, provider.url)
        with Site.open(settings, ASSETS) as site:
            yield clock.attach(site)


def test_bars_are_stored_soon_after_their_end(moved: Moved) -> None:
    """Critical ones within 90 s, the others within their own interval; no call is spent in vain."""
    site = moved.site
    enqueue_secondary(site.context, site.connection, site.capabilities)
    calls = 0
    for slot in range(13):
        slot_ms = int((TUESDAY + slot * EVERY).timestamp() * 1000)
        moved.to(slot_ms)
        begin(site.context, site.connection, site.capabilities)
        moved.drain()
        moved.to(slot_ms + SETTLES_MS)
        enqueue_new_bars(site.context, site.connection, site.capabilities)
        calls += moved.drain()
        moved.to(slot_ms + 90_000)
        for asset in ASSETS:
            age = timedelta(seconds=max(90, asset.update_frequency_seconds or 0))
            limit = timedelta(seconds=90) if asset in CRITICAL else age
            assert moved.missing(asset.symbol, limit) == [], f"{asset.symbol} in slot {slot}"
    assert calls <= 13 * 4 + 2 * len(OTHERS) + 8, "four that follow each slot, and two rounds"


def test_a_bar_is_taken_once_it_has_settled(moved: Moved) -> None:
    site = moved.site
    moved.to(moved.now_ms + SETTLES_MS - 500)
    begin(site.context, site.connection, site.capabilities)
    moved.drain()
    last = TUESDAY - EVERY
    assert moved.missing("BTCUSD", timedelta()) == [last], "it ended less than 15 s ago"
    moved.to(int(TUESDAY.timestamp() * 1000) + SETTLES_MS)
    enqueue_new_bars(site.context, site.connection, site.capabilities)
    assert moved.drain() >= 3
    assert moved.missing("BTCUSD", timedelta()) == []


def test_at_midnight_the_day_is_whole_and_the_new_one_begins(moved: Moved) -> None:
    site = moved.site
    midnight_ms = int((TUESDAY.replace(hour=0) + timedelta(days=1)).timestamp() * 1000)
    for second in (-5, 1, 15, 16):
        moved.to(midnight_ms + second * 1000)
        begin(site.context, site.connection, site.capabilities, by_hand=True)
        enqueue_new_bars(site.context, site.connection, site.capabilities)
        assert moved.drain() <= 12, "no circle"
    rows = site.connection.execute(
        b"SELECT day, whole, bars FROM market_data.coverage_days c JOIN trading.symbols s"
        b" ON s.id = c.symbol_id WHERE s.symbol = 'BTCUSD' AND day >= %s ORDER BY day",
        (TUESDAY.date(),),
    ).fetchall()
    day = TUESDAY.date()
    assert rows == [(day, True, 288), (day + timedelta(days=1), False, 0)]


def test_a_closed_market_is_not_asked_for_new_bars(moved: Moved) -> None:
    """On a Sunday at noon only crypto has any."""
    site = moved.site
    sunday = datetime(2026, 11, 22, 12, 0, 15, tzinfo=UTC)
    for _ in range(3):
        moved.to(int(sunday.timestamp() * 1000))
        enqueue_new_bars(site.context, site.connection, site.capabilities)
        asked = [item.symbol for item in site.context.queue.peek(50)]
        moved.drain()
        sunday += EVERY
    assert set(asked) == {"BTCUSD/5m", "ADAUSD/5m"}, "what was asked once waits for the opening"


def test_what_waits_goes_by_its_value(moved: Moved) -> None:
    """Critical prices, due prices, new bars of critical assets, of others, history."""
    site = moved.site
    enqueue_new_bars(site.context, site.connection, site.capabilities)
    site.ask("SOLUSD", at=Priority.LOW)
    site.ask("ETHUSDT", at=Priority.MEDIUM)
    site.ask("GBPUSD", at=Priority.HIGH)
    begin(site.context, site.connection, site.capabilities)
    day = TUESDAY.date()
    for name, days in (("HISTORY/5m", 30), ("WEEK/5m", 3)):
        hole = Hole(name, day - timedelta(days), day - timedelta(days), 1, again=False)
        site.context.queue.enqueue([Request(name)], SeriesNeed(day, hole).urgency())
    waiting = [item.symbol for item in site.context.queue.peek(50)]
    prices = [name for name in waiting if "/" not in name]
    assert prices == ["XAUUSD", "EURUSD", "BTCUSD", "GBPUSD", "ETHUSDT", "SOLUSD"]
    bars = [name for name in waiting if "/" in name]
    assert waiting.index("GBPUSD") < waiting.index("ETHUSDT") < waiting.index(bars[0])
    assert bars[:3] == ["XAUUSD/5m", "EURUSD/5m", "BTCUSD/5m"]
    assert bars[-2:] == ["WEEK/5m", "HISTORY/5m"]
