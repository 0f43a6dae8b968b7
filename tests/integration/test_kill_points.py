"""SIGKILL at every named step: nothing is lost, doubled, stuck, out of date or over quota.

A process that runs a real tick (or a scheduler's pass) kills itself at the point. Then a scheduler
and workers go on, as they would on any host. The list of points is that of the code.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from local.sandbox import SandboxServer
from runtime.failpoints import Point
from scheduler import process
from settings import Settings
from tests.kit import worker as worker_kit
from tests.kit.dying import DIED, LEASE_MS, Orders, Stable
from tests.kit.kill_points import CASES, LIMIT, WINDOW_S, Case, World
from tests.kit.waiting import eventually
from tests.kit.worker import Site, process_env, settings_for
from worker.ticks import DRAIN


@pytest.fixture(scope="module")
def stable(project_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stable]:
    place = tmp_path_factory.mktemp("stable")
    with Stable(project_root, Orders(place / "orders"), place / "stable.log") as opened:
        yield opened


@pytest.fixture(scope="module")
def provider() -> Iterator[SandboxServer]:
    with worker_kit.sandbox("starter") as server:
        yield server


@pytest.fixture
def open_world(
    redis_url: str,
    migrated_url: str,
    stable: Stable,
    provider: SandboxServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Callable[..., World]]:
    monkeypatch.setattr(Settings, "lease_ms", LEASE_MS)
    with ExitStack() as stack:
        provider.configure()

        def build(**more: Any) -> World:
            settings = settings_for(
                redis_url,
                migrated_url,
                provider.url,
                **{
                    "polygon_rate_limit": LIMIT,
                    "rate_window_seconds": WINDOW_S,
                    "request_timeout_seconds": 10,
                    "retry_delay_seconds": 0,
                    **more,
                },
            )
            site = stack.enter_context(Site.open(settings))
            env = process_env(
                settings, tmp_path, RETRY_DELAY_SECONDS="0", ASSETQ_PROVIDER=settings.provider
            )
            return World(site, provider, stable, env, len(provider.arrivals()))

        yield build


@pytest.fixture
def world(open_world: Callable[..., World]) -> World:
    return open_world()


@pytest.mark.parametrize(
    ("point", "case"),
    [
        pytest.param(point, case, id=f"{point.name.lower()}-{number}")
        for point, cases in CASES.items()
        for number, case in enumerate(cases)
    ],
)
def test_killed_at(world: World, point: Point, case: Case) -> None:
    case.arrange(world)
    world.orders.give(point)
    assert world.stable.run(case.tick, world.env) == DIED, "it came to the point and died there"
    assert not world.orders.pending(point)
    world.time_passes()
    eventually(
        lambda: world.refreshed(case.refreshed),
        what=f"{case.refreshed} after a death at {point.name}: {point}",
    )
    world.check()
    for record in world.site.context.queue.batches(5):
        assert record.failed == []
        assert record.finished_at_ms is not None


def test_killed_after_any_command(open_world: Callable[..., World]) -> None:
    """Not only at the points: after each single command to Redis, PostgreSQL and the provider.

    Each time in a queue of its own, without a quota, so that the dead do not wait for one another.
    """
    worlds: list[World] = []
    while True:
        one = open_world(assetq_provider=f"w{len(worlds)}", polygon_rate_limit="")
        one.leave_boundaries()
        one.ask("EURUSD", "BTCUSD")
        if one.stable.run(DRAIN, one.env, dies_after=len(worlds) + 1) != DIED:
            break
        worlds.append(one)
    assert len(worlds) > 15, "as many as a drain sends"
    for one in worlds:
        one.time_passes()
        done = ["EURUSD", "BTCUSD"]
        eventually(lambda: one.refreshed(done))  # noqa: B023
        assert one.site.context.queue.dead() == []
        events: Any = one.site.context.redis.xrange(one.site.context.keys.updates)
        seen = [json.loads(fields["event"]) for _, fields in events]
        told = [(event["symbol"], event["observed_at_ms"]) for event in seen]
        assert len(told) == len(set(told)) == 2


def test_a_dead_scheduler_is_replaced_in_time() -> None:
    """Its lock ends, and another one passes, within the time in which a lease is taken up."""
    assert process.LOCK_S + 2 * process.INTERVAL_S <= 5
