"""Two API keys in one Redis: each has its own quota, queue, schedule and workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
import redis

from db.migrate import migrate
from local.servers.postgres import PostgresServer
from tests.kit import worker as worker_kit
from tests.kit.waiting import eventually
from tests.kit.worker import CRITICAL, Running, Site, process_env, settings_for
from worker.ticks import DRAIN

LIMIT, WINDOW_S = 5, 2.0
SYMBOLS = {asset.symbol for asset in CRITICAL}


@pytest.fixture
def sites(redis_url: str, pg_server: PostgresServer) -> Iterator[dict[str, Site]]:
    """By provider name: the same Redis, and a sandbox and a database each."""
    with ExitStack() as stack:
        found = {}
        for name in ("massive", "second"):
            provider = stack.enter_context(
                worker_kit.sandbox("spec", limit=LIMIT, window_s=WINDOW_S)
            )
            database = pg_server.ensure_database(f"two_providers_{name}")
            migrate(database)
            settings = settings_for(
                redis_url,
                database,
                provider.url,
                assetq_provider=name,
                massive_api_key=f"key-of-{name}",
                polygon_rate_limit=LIMIT,
                rate_window_seconds=WINDOW_S,
            )
            found[name] = stack.enter_context(Site.open(settings, CRITICAL))
        yield found


def start(site: Site, kind: str, root: Path, tmp: Path, stack: ExitStack) -> Running:
    settings = site.context.settings
    env = process_env(settings, tmp, ASSETQ_PROVIDER=settings.provider, PYTHONUNBUFFERED="1")
    one = Running(root, kind, env, tmp / f"{settings.provider}-{kind}.log")
    stack.callback(one.end)
    return one


def _all_told(site: Site) -> bool:
    return set(site.events()) >= SYMBOLS


def test_each_refreshes_its_own_assets_under_its_own_quota(
    sites: dict[str, Site], project_root: Path, tmp_path: Path
) -> None:
    with ExitStack() as stack:
        for site in sites.values():
            for kind in ("worker", "scheduler"):
                start(site, kind, project_root, tmp_path, stack)
        for name, site in sites.items():
            eventually(partial(_all_told, site), what=name)
            first = site.context.queue.batches(10)[-1]  # a slot may have begun a second one
            assert set(first.updated) == SYMBOLS


def test_workers_leave_the_ticks_of_others_alone(
    sites: dict[str, Site], project_root: Path, tmp_path: Path, r: redis.Redis
) -> None:
    mine, theirs = sites["massive"], sites["second"]
    with ExitStack() as stack:
        start(theirs, "worker", project_root, tmp_path, stack)
        mine.ask("EURUSD")
        mine.ticks.push(DRAIN)
        theirs.ask("EURUSD")
        theirs.ticks.push(DRAIN)
        eventually(lambda: theirs.events() == ["EURUSD"])
        eventually(lambda: theirs.ticks.queue.count == 0)
        assert mine.ticks.waiting(DRAIN), "no worker took it"
        assert mine.where("EURUSD") == "queue"
        mine.context.limiter.block(60_000, "a 429 for this key only")
        theirs.ask("BTCUSD")
        theirs.ticks.push(DRAIN)
        eventually(lambda: theirs.events() == ["EURUSD", "BTCUSD"])
