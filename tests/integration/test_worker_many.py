"""Many assets: few calls, whatever their number, and each claim takes a bounded part of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from db.symbols import Asset
from local.sandbox import SandboxServer
from market.grouped import Grouped
from queueing import Priority
from tests.kit import worker as worker_kit
from tests.kit.worker import CRITICAL, OTHERS, Site, settings_for
from worker.batch import begin

# Assets may share a ticker, which makes the sandbox quick.
FOREX = [Asset(f"F{n:03}USD", f"C:F{n % 9:03}USD", "forex") for n in range(330)]
COINS = [Asset(f"K{n:03}USD", f"X:K{n % 9:03}USD", "crypto") for n in range(270)]
MIXED = [asset for pair in zip(FOREX, COINS, strict=False) for asset in pair] + FOREX[270:]
UNKNOWN = Asset("NOPEUSD", "X:NOPEUSD", "crypto")
MARKET = "/v2/snapshot/locale/global/markets"


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[SandboxServer]:
    listed = tmp_path / "tickers.txt"
    listed.write_text("\n".join({asset.polygon_ticker for asset in MIXED}))
    with worker_kit.sandbox("starter", tickers=[listed]) as server:
        yield server


@pytest.fixture
def site(redis_url: str, migrated_url: str, provider: SandboxServer) -> Iterator[Site]:
    given = settings_for(redis_url, migrated_url, provider.url, queue_max_size=5_000)
    with Site.open(given, [*MIXED, UNKNOWN]) as opened:
        yield opened


def paths(provider: SandboxServer) -> Counter[str]:
    return Counter(arrival.path.partition("?")[0] for arrival in provider.arrivals())


def test_two_calls_bring_the_prices_of_any_number(site: Site, provider: SandboxServer) -> None:
    site.ask(*(asset.symbol for asset in MIXED))
    drained = site.drain(slice_s=30).run()
    assert sorted(site.events()) == sorted(asset.symbol for asset in MIXED)
    assert paths(provider) == {f"{MARKET}/forex/tickers": 1, f"{MARKET}/crypto/tickers": 1}
    assert drained.calls > 2, "each claim takes a part of what the answers hold"
    query = """SELECT count(DISTINCT metadata #> '{last_update,observed_at_ms}')
               FROM trading.symbols WHERE metadata ? 'last_update'"""
    assert site.one(query) == 2, "a price was learned when its call was granted"
    assert site.outcomes() == ["ok", "ok"]
    site.ask("F001USD")
    site.drain().run()
    assert paths(provider)["/v3/snapshot"] == 1, "asked for later: never from an answer at hand"


def test_what_its_market_does_not_hold_is_asked_for_by_name(
    site: Site, provider: SandboxServer
) -> None:
    site.ask(UNKNOWN.symbol, at=Priority.HIGH)
    site.ask(*(asset.symbol for asset in MIXED))
    site.drain(slice_s=30).run()
    assert len(site.events()) == len(MIXED)
    [letter] = site.context.queue.dead()
    assert letter.symbol == UNKNOWN.symbol
    assert paths(provider)["/v3/snapshot"] == 1
    assert sum(paths(provider).values()) <= 4


def test_a_key_that_may_not_ask_for_markets_takes_them_by_250(
    site: Site, provider: SandboxServer
) -> None:
    site.capabilities.refuse("snapshot_market", "not in this plan")
    site.ask(*(asset.symbol for asset in MIXED))
    site.drain(slice_s=30).run()
    assert len(site.events()) == len(MIXED)
    assert paths(provider) == {"/v3/snapshot": 3}


def test_a_new_day_of_500_assets_takes_two_calls(
    redis_url: str, migrated_url: str, tmp_path: Path
) -> None:
    now = datetime.now(UTC)  # on Mondays forex had no day of its own
    wanted = [a for a in (*CRITICAL, *MIXED) if Grouped().serves(a.polygon_ticker, now)]
    assets = wanted[:500]
    listed = tmp_path / "tickers.txt"
    listed.write_text("\n".join({asset.polygon_ticker for asset in assets}))
    with worker_kit.sandbox("free", tickers=[listed]) as provider:
        given = settings_for(redis_url, migrated_url, provider.url, polygon_tier="free")
        with Site.open(given, assets) as site:
            for feed in ("snapshot_v3", "snapshot", "aggregates"):
                site.capabilities.refuse(feed, "only prices of a day, please")
            begin(site.context, site.connection, site.capabilities)
            site.drain(slice_s=30).run()
            assert sorted(site.events()) == sorted(asset.symbol for asset in assets)
            assert len(provider.arrivals()) <= 3, "two markets, and at most one refusal"
            begin(site.context, site.connection, site.capabilities, by_hand=True)
            assert site.context.queue.size == 0, "nothing newer can exist"


def test_a_new_day_serves_what_is_asked_for_while_it_comes(
    redis_url: str, migrated_url: str
) -> None:
    """A batch asks for critical assets first; a worker may make the call before it goes on."""
    coins = [asset for asset in (*CRITICAL, *OTHERS) if asset.asset_type == "crypto"]
    with worker_kit.sandbox("free") as provider:
        given = settings_for(redis_url, migrated_url, provider.url, polygon_tier="free")
        with Site.open(given, coins) as site:
            site.context.limiter.reset()
            for feed in ("snapshot_v3", "snapshot", "aggregates"):
                site.capabilities.refuse(feed, "only prices of a day, please")
            drain = site.drain(slice_s=30)
            site.ask("BTCUSD", at=Priority.CRITICAL)
            drain.run()
            site.ask("SOLUSD", "ETHUSDT")
            drain.run()
            assert site.events() == ["BTCUSD", "SOLUSD", "ETHUSDT"]
            assert len(provider.arrivals()) == 1
            assert site.outcomes() == ["ok"]
