"""A newest day that is silently lacking: a good answer that ends with the day before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest

from local.sandbox.instruments import load_instruments
from settings.checkout import CATALOGUE
from tests.kit import worker as worker_kit
from tests.kit.worker import CRITICAL, OTHERS, Site, settings_for
from tests.proofs.vendor import Hole, Vendor, VendorSeries
from worker.batch import begin
from worker.secondary import enqueue_secondary

COINS = [asset for asset in (*CRITICAL, *OTHERS) if asset.symbol in ("BTCUSD", "SOLUSD")]
PRICE = "SELECT metadata #>> '{last_update,as_of}' FROM trading.symbols WHERE symbol = 'BTCUSD'"


@pytest.fixture
def today() -> datetime:
    """Looked at anew for each test: the run may go on over midnight."""
    return datetime.combine(datetime.now(UTC).date(), time.min, UTC)


@pytest.fixture
def newest(today: datetime) -> datetime:
    return today - timedelta(days=1)


@pytest.fixture
def vendor(today: datetime, newest: datetime) -> Vendor:
    """Has nothing of the newest day, until its holes are cleared."""
    never = datetime.max.replace(tzinfo=UTC)
    return Vendor(holes=[Hole(asset.polygon_ticker, newest, today, never) for asset in COINS])


@pytest.fixture
def site(redis_url: str, migrated_url: str, vendor: Vendor) -> Iterator[Site]:
    """A key of the free plan that has no grouped days either."""
    with worker_kit.sandbox("free") as provider:
        provider.app.series = VendorSeries(load_instruments([CATALOGUE]), vendor)
        given = settings_for(
            *(redis_url, migrated_url, provider.url),
            polygon_tier="free",
            polygon_rate_limit=1000,
        )
        with Site.open(given, COINS) as opened:
            opened.context.limiter.reset()
            for feed in ("snapshot_v3", "snapshot", "grouped"):
                opened.capabilities.refuse(feed, "not in this plan")
            yield opened


def granted(site: Site, at: datetime) -> None:
    """The next call, as if it were granted at that time."""
    call = site.claim()
    claimed = call.claimed._replace(granted_at_ms=int(at.timestamp() * 1000))
    site.refresher.refresh(replace(call, claimed=claimed))


def test_in_the_night_it_is_not_published_and_the_day_before_is_the_price(
    site: Site, today: datetime, newest: datetime
) -> None:
    site.ask("BTCUSD")
    granted(site, today + timedelta(hours=2))
    assert site.outcomes() == ["ok"]
    assert datetime.fromisoformat(site.one(PRICE)) == newest
    assert site.status("BTCUSD") == ("success", None)
    site.capabilities.refused()
    until_ms = site.capabilities.unpublished()["crypto"]
    assert until_ms == (today + timedelta(hours=2, minutes=35)).timestamp() * 1000
    seen_at = site.capabilities.seen_at(
        "X:SOLUSD", site.capabilities.bars_feed, today + timedelta(hours=2, minutes=30)
    )
    assert seen_at < today, "one call finds out for its market"


def test_an_asset_without_ticks_says_nothing_about_a_day_that_is_published(
    site: Site, vendor: Vendor, today: datetime
) -> None:
    del vendor.holes[1]
    site.ask("SOLUSD")
    granted(site, today + timedelta(hours=2))
    site.ask("BTCUSD")
    granted(site, today + timedelta(hours=2))
    assert site.outcomes() == ["ok", "ok"]
    assert site.capabilities.unpublished() == {}


def test_hours_later_the_empty_day_is_known_and_not_asked_for_in_every_round(
    site: Site, today: datetime, newest: datetime
) -> None:
    when = today + timedelta(hours=12)
    for _ in range(3):
        site.context.shift(int(when.timestamp() * 1000) - site.context.redis_now_ms())
        begin(site.context, site.connection, site.capabilities)
        enqueue_secondary(site.context, site.connection, site.capabilities)
        while site.context.queue.peek():
            granted(site, when)
        when += timedelta(minutes=5)
    assert len(site.outcomes()) == 2, "one for each asset"
    query = "SELECT DISTINCT status FROM market_data.coverage WHERE timeframe = '5m' AND day = %s"
    assert site.one(query, newest.date()) == "pending", "it may still come"
