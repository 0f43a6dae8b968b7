"""The lease of a call: prolonged while the work goes on, at no cost to quick calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from local.sandbox import SandboxServer
from market.deadline import boottime_s
from runtime import failpoints
from runtime.failpoints import Point
from tests.kit import worker as worker_kit
from tests.kit.worker import Site, settings_for

WAITED_S = 0.3


@pytest.fixture
def provider() -> Iterator[SandboxServer]:
    with worker_kit.sandbox("starter") as server:
        yield server


@pytest.fixture
def site(redis_url: str, migrated_url: str, provider: SandboxServer) -> Iterator[Site]:
    with Site.open(settings_for(redis_url, migrated_url, provider.url)) as opened:
        yield opened


def half_passes(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on half of each lease that was begun is spent, as this process counts."""
    ahead_s = site.context.queue.lease_ms / 2000
    monkeypatch.setattr("worker.lease.boottime_s", lambda: boottime_s() + ahead_s)


def at(monkeypatch: pytest.MonkeyPatch, point: Point, act: Callable[[], None]) -> None:
    """Does this whenever the point is reached."""

    def reached(there: Point) -> None:
        if there is point:
            act()

    monkeypatch.setattr(failpoints, "on_reached", reached)


def commands(site: Site) -> dict[str, int]:
    stats = site.context.redis.info("commandstats")
    return {name.removeprefix("cmdstat_"): row["calls"] for name, row in stats.items()}


@pytest.mark.parametrize("slow", [False, True])
def test_it_is_prolonged_when_half_of_it_is_spent(
    site: Site, provider: SandboxServer, monkeypatch: pytest.MonkeyPatch, slow: bool
) -> None:
    provider.configure({"kind": "delay", "min_s": WAITED_S, "max_s": WAITED_S})
    seen: list[float | None] = []
    leases = site.context.keys.leases
    at(
        monkeypatch,
        Point.WRITE_BEFORE,
        lambda: seen.append(site.context.redis.zscore(leases, "EURUSD")),
    )
    site.ask("EURUSD", "BTCUSD")
    call = site.claim()
    if slow:
        half_passes(site, monkeypatch)
    site.refresher.refresh(call)
    [until_ms] = seen
    assert until_ms is not None
    prolonged_ms = until_ms - call.claimed.lease_until_ms
    assert (prolonged_ms >= WAITED_S * 1000) if slow else (prolonged_ms == 0)
    assert site.events() == ["EURUSD", "BTCUSD"]


def test_a_lost_lease_stores_nothing_but_the_call(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider counted it; the prices are the next worker's to bring."""

    def taken_back() -> None:
        half_passes(site, monkeypatch)
        site.context.redis.zadd(site.context.keys.leases, {"EURUSD": 1})
        site.context.queue.reap()

    at(monkeypatch, Point.ANSWERED, taken_back)
    site.ask("EURUSD", "BTCUSD")
    site.refresher.refresh(site.claim())
    assert site.asset("EURUSD").last_price is None
    assert site.where("EURUSD") == "queue"
    assert site.events() == ["BTCUSD"], "what it still held is done"
    assert site.asset("BTCUSD").last_price is not None
    assert site.outcomes() == ["ok"]


def test_a_quick_call_costs_two_commands(site: Site) -> None:
    site.refresh("EURUSD")  # scripts are loaded
    site.ask("EURUSD")
    call = site.claim()
    before = commands(site)
    site.refresher.refresh(call)
    after = commands(site)
    assert after["evalsha"] - before["evalsha"] == 1, "complete; the other one was the claim"
