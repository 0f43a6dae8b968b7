"""One ticker that the provider cannot serve costs itself, whatever it does to its calls."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from db.symbols import Asset
from local.sandbox import SandboxServer, snapshots
from market.client import MarketClient
from queueing import Death, Priority
from tests.kit import worker as worker_kit
from tests.kit.worker import CRITICAL, Site, settings_for

COINS = tuple(Asset(f"CO{n:03}USD", f"X:CO{n:03}USD", "crypto") for n in range(50))
ASSETS = (*CRITICAL, *COINS)
BAD = "XAUUSD"
FAULTS: list[dict[str, Any]] = [
    {"kind": "server_error", "status": 500},
    {"kind": "server_error", "status": 503},
    {"kind": "html"},
    {"kind": "truncated"},
    {"kind": "empty"},
    {"kind": "reset"},
    {"kind": "hang"},
    {"kind": "bad_request"},
]


def told(fault: dict[str, Any]) -> str:
    return "-".join(str(value) for value in fault.values())


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[SandboxServer]:
    listed = tmp_path / "tickers.txt"
    listed.write_text("\n".join(asset.polygon_ticker for asset in ASSETS))
    with worker_kit.sandbox("starter", tickers=[listed]) as server:
        yield server


@pytest.fixture
def site(redis_url: str, migrated_url: str, provider: SandboxServer) -> Iterator[Site]:
    given = settings_for(
        redis_url,
        migrated_url,
        provider.url,
        retry_max_attempts=2,
        retry_delay_seconds=0,
        request_timeout_seconds=10,
    )
    with Site.open(given, ASSETS) as opened:
        yield opened


def impatient(site: Site, fault: dict[str, Any]) -> None:
    """Where an answer never comes, it is not waited for long; elsewhere it may be late."""
    if fault["kind"] == "hang":
        url, key = site.context.settings.base_url, site.context.settings.required_api_key()
        site.client = MarketClient(url, key, timeout_s=0.5)


def spend(site: Site, slice_s: float = 60) -> None:
    """Drains until nothing is left; a rest of the breaker is over at the end of a slice."""
    keys, r = site.context.keys, site.context.redis
    for _ in range(30):
        if site.drain(slice_s=slice_s).run().ended == "empty" and site.context.queue.size == 0:
            return
        if r.hexists(keys.quota, "open_until"):
            r.hset(keys.quota, "open_until", site.context.redis_now_ms())
    raise AssertionError(f"left: {site.context.queue.pending()}")


@pytest.mark.parametrize("fault", FAULTS, ids=told)
def test_in_a_shared_call_it_is_found_by_halves_and_dies_alone(
    site: Site, provider: SandboxServer, fault: dict[str, Any]
) -> None:
    provider.configure(fault | {"tickers": [f"C:{BAD}"]})
    impatient(site, fault)
    site.ask(*(asset.symbol for asset in CRITICAL), at=Priority.CRITICAL)
    site.ask(*(coin.symbol for coin in COINS))
    spend(site)
    assert sorted(site.events()) == sorted({a.symbol for a in ASSETS} - {BAD})
    [letter] = site.context.queue.dead()
    assert letter.symbol == BAD
    assert letter.kind is (Death.INVALID if fault["kind"] == "bad_request" else Death.TRANSIENT)
    assert len(provider.arrivals()) <= 2 * 6 + 3 + 1, "log2(53) halves twice, and its attempts"
    assert not site.context.limiter.status().breaker.open


@pytest.mark.parametrize("fault", FAULTS, ids=told)
def test_in_calls_of_its_own_it_spends_its_attempts(
    site: Site, provider: SandboxServer, fault: dict[str, Any]
) -> None:
    site.capabilities.refuse("snapshot_v3", "one asset per call, please")
    provider.configure(fault | {"tickers": [f"C:{BAD}"]})
    impatient(site, fault)
    others = [coin.symbol for coin in COINS[:9]]
    site.ask(*(asset.symbol for asset in CRITICAL), at=Priority.CRITICAL)
    site.ask(*others)
    spend(site)
    assert sorted(site.events()) == sorted(["EURUSD", "BTCUSD", *others])
    assert [letter.symbol for letter in site.context.queue.dead()] == [BAD]
    spent = sum(f"C:{BAD}" in arrival.path for arrival in provider.arrivals())
    assert spent == (1 if fault["kind"] == "bad_request" else 3)
    assert not site.context.limiter.status().breaker.open


def test_after_an_outage_of_the_provider_it_does_not_keep_the_breaker_open(
    site: Site, provider: SandboxServer
) -> None:
    """It is the most urgent item, so each probe would take it."""
    site.capabilities.refuse("snapshot_v3", "one asset per call, please")
    others = [coin.symbol for coin in COINS[:9]]
    provider.configure({"kind": "server_error"})
    site.ask(*others)
    while not site.context.limiter.status().breaker.open:
        site.drain(slice_s=0.2).run()
    provider.configure({"kind": "server_error", "tickers": [f"C:{BAD}"]})
    site.ask(*(asset.symbol for asset in CRITICAL), at=Priority.CRITICAL)
    spend(site, slice_s=1)
    assert {"EURUSD", "BTCUSD"} <= set(site.events())
    dead = {letter.symbol for letter in site.context.queue.dead()}
    assert dead == {BAD} | (set(others) - set(site.events()))
    spent = sum(f"C:{BAD}" in arrival.path for arrival in provider.arrivals())
    assert spent <= 4


def leave_out(monkeypatch: pytest.MonkeyPatch, *left_out: str) -> None:
    """The plan leaves these tickers out of snapshots that bring several."""
    given = snapshots._item

    def item(call: Any, ticker: str) -> dict[str, Any]:
        refused = {"ticker": ticker, "error": "NOT_AUTHORIZED", "message": "Upgrade your plan."}
        return refused if ticker in left_out else given(call, ticker)

    monkeypatch.setattr(snapshots, "_item", item)


def test_a_ticker_that_one_feed_refuses_is_asked_of_the_next_at_no_attempt(
    site: Site, provider: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The plan gives the others of the same call."""
    leave_out(monkeypatch, f"C:{BAD}")
    for _ in range(2):
        site.ask(*(asset.symbol for asset in CRITICAL), at=Priority.CRITICAL)
        spend(site)
    assert [site.where(asset.symbol) for asset in CRITICAL] == ["nowhere"] * len(CRITICAL)
    assert site.status(BAD) == ("success", None)
    asked = [arrival.path for arrival in provider.arrivals()]
    assert asked.count("/v3/snapshot") == 2
    assert len([path for path in asked if path.endswith(BAD)]) == 2
    assert set(site.capabilities.refused()) == set()


def test_a_call_of_refused_tickers_alone_leaves_the_feed_to_all_others(
    site: Site, provider: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    leave_out(monkeypatch, "C:XAUUSD", "C:EURUSD")
    site.ask("XAUUSD", "EURUSD", at=Priority.CRITICAL)
    spend(site)
    site.ask(*(coin.symbol for coin in COINS), "BTCUSD")
    spend(site)
    assert sorted(site.events()) == sorted(asset.symbol for asset in ASSETS)
    alone = [arrival.path for arrival in provider.arrivals() if arrival.path != "/v3/snapshot"]
    assert sorted(path[-6:] for path in alone) == ["EURUSD", "XAUUSD"]


def test_where_every_ticker_is_refused_each_call_learns_of_all_that_it_asked_for(
    site: Site, provider: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    some = ASSETS[:9]
    leave_out(monkeypatch, *(asset.polygon_ticker for asset in some))
    for _ in range(2):
        site.ask(*(asset.symbol for asset in some))
        spend(site)
    asked = [arrival.path for arrival in provider.arrivals()]
    assert asked.count("/v3/snapshot") == 1
    assert len(asked) == 1 + 2 * len(some)
    assert not site.context.queue.dead()
