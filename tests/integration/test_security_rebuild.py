"""`assetq rebuild`: Redis is lost, PostgreSQL is not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from cli.commands.rebuild import restore
from local.sandbox import SandboxServer
from queueing import Priority
from scheduler.process import TickScheduler
from tests.kit import worker as worker_kit
from tests.kit.cli_runs import Cli
from tests.kit.waiting import eventually
from tests.kit.worker import CRITICAL, OTHERS, Running, Site, process_env, settings_for

ALL = [a.symbol for a in (*CRITICAL, *OTHERS)]


@pytest.fixture
def provider() -> Iterator[SandboxServer]:
    with worker_kit.sandbox("starter") as server:
        yield server


@pytest.fixture
def site(redis_url: str, migrated_url: str, provider: SandboxServer) -> Iterator[Site]:
    with Site.open(settings_for(redis_url, migrated_url, provider.url)) as opened:
        yield opened


@pytest.fixture
def cli(site: Site, tmp_path: Path) -> Cli:
    return Cli(tmp_path, process_env(site.context.settings, tmp_path))


def age(site: Site, **hours: float) -> None:
    """The stored price of each symbol was fetched that many hours ago."""
    for symbol, number in hours.items():
        site.connection.execute(
            b"""UPDATE trading.symbols SET metadata = jsonb_set(jsonb_set(metadata,
                '{last_update,observed_at_ms}',
                to_jsonb((extract(epoch FROM now()) * 1000 - %(h)s * 3600000)::bigint)),
                '{last_update,as_of}', to_jsonb(to_char(now() AT TIME ZONE 'UTC'
                - make_interval(mins => (%(h)s * 60)::int), 'YYYY-MM-DD"T"HH24:MI:SS.US+00:00')))
                WHERE symbol = %(symbol)s""",
            {"h": number, "symbol": symbol},
        )


def queued(site: Site) -> list[str]:
    return [item.symbol for item in site.context.queue.peek(50)]


def test_after_a_flush_all_that_is_stale_is_asked_for_the_stalest_first(
    site: Site, cli: Cli, r: redis.Redis
) -> None:
    site.refresh(*ALL)
    r.flushall()
    age(site, GBPUSD=102, USDJPY=105, ETHUSDT=103, BTCUSD=101, XAUUSD=106)  # before any weekend
    site.connection.execute(b"UPDATE trading.symbols SET priority = 2 WHERE symbol = 'ETHUSDT'")
    done = cli.here("rebuild")
    assert done.code == 0
    # EURUSD and SOLUSD are fresh: what is not stale is not asked for.
    assert queued(site)[:5] == ["XAUUSD", "BTCUSD", "USDJPY", "ETHUSDT", "GBPUSD"]
    assert not {"EURUSD", "SOLUSD"} & set(queued(site))
    assert site.item("XAUUSD").priority == Priority.CRITICAL
    assert "XAUUSD, BTCUSD stale, 2 newly asked" in done.out
    assert "newly asked, the stalest first" in done.out
    assert "start a scheduler: assetq scheduler" in done.out
    assert "stream of events" in done.out
    assert site.ticks.waiting("drain")
    TickScheduler(site.context, site.ticks).run_once()
    assert "stands: every-batch, every-secondary" in cli.here("rebuild").out


def test_again_it_changes_nothing(site: Site, cli: Cli, r: redis.Redis) -> None:
    first = cli.here("rebuild", "--json").json
    items = r.hgetall("assetq:{massive}:items")
    again = cli.here("rebuild", "--json").json
    assert first["enqueued"] == len(items) >= len(ALL)
    assert again["enqueued"] == 0
    assert again["pending_before"] == first["pending_before"] + first["enqueued"]
    assert r.hgetall("assetq:{massive}:items") == items
    jobs: Any = r.lrange("rq:queue:assetq-massive", 0, -1)
    assert len([job for job in jobs if job.startswith("drain")]) == 1


def test_nothing_is_asked_where_all_is_fresh(site: Site, cli: Cli) -> None:
    site.refresh(*ALL)
    done = cli.here("rebuild", "--json").json
    assert not set(ALL) & set(queued(site))
    assert done["critical"] == []
    assert done["current"] == len(ALL)


def test_what_does_not_fit_is_named_and_critical_always_fits(site: Site, cli: Cli) -> None:
    done = cli.here("rebuild", "--json", QUEUE_MAX_SIZE="4")
    assert done.code == 5
    assert len(done.json["refused"]) >= 3
    assert {"XAUUSD", "EURUSD", "BTCUSD"} <= set(queued(site))
    assert "did not fit" in done.err


def test_it_makes_no_call_and_the_window_before_the_loss_holds(
    site: Site, cli: Cli, provider: SandboxServer, r: redis.Redis, migrated_url: str, redis_url: str
) -> None:
    """Calls made just before the loss are not forgotten: the first one waits a window."""
    limited = settings_for(redis_url, migrated_url, provider.url, polygon_rate_limit=5)
    with Site.open(limited) as busy:
        busy.drain().run()  # leaves the proof of a call just now
        busy.ask("EURUSD")
        busy.drain(slice_s=1.0).run()
        calls = len(provider.arrivals())
        r.flushall()
        told = cli.here("rebuild", POLYGON_RATE_LIMIT="5")
        busy.drain(slice_s=0.5).run()
        assert len(provider.arrivals()) == calls
        status = busy.context.limiter.status()
        assert status.hold_until_ms > status.now_ms
    assert "next call" in told.out


def test_a_run_that_dies_in_between_is_completed_by_the_next(
    site: Site, monkeypatch: pytest.MonkeyPatch, r: redis.Redis
) -> None:
    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("cli.commands.rebuild.enqueue_secondary", dies)
        with pytest.raises(KeyboardInterrupt):
            restore(site.context, site.connection)
    assert set(queued(site)) == {a.symbol for a in CRITICAL}
    done = restore(site.context, site.connection)
    assert done.critical_new == 0
    assert set(ALL) <= set(queued(site))


def test_a_lost_redis_under_running_processes(
    site: Site, cli: Cli, r: redis.Redis, project_root: Path, tmp_path: Path
) -> None:
    """Flushed while they work, rebuilt twice at once: every asset is fresh again, once."""
    processes = [
        Running(project_root, name, cli.environment(), tmp_path / f"{name}.log")
        for name in ("scheduler", "worker")
    ]
    try:
        eventually(lambda: set(site.events()) == set(ALL))
        eventually(lambda: site.context.queue.size == 0)
        age(site, **dict.fromkeys(ALL, 106.0))  # before any weekend
        r.flushall()
        both = [cli.start("rebuild", "--json") for _ in range(2)]
        documents = [json.loads(one.communicate(timeout=90)[0]) for one in both]
        assert all(one.returncode == 0 for one in both)
        assert documents[0]["total_items"] <= 2 * len(ALL)
        eventually(lambda: set(site.events()) >= set(ALL), what="fresh again")
        eventually(lambda: site.context.queue.size == 0)
        eventually(lambda: r.zcard("assetq:{massive}:scheduler:entries") == 3)
        rows = site.one("SELECT count(*) FROM data_sources.data_sync_status")
        assert rows == len(ALL)
        assert [one.terminate(25) for one in processes] == [0, 0]
    finally:
        for one in processes:
            one.end()


def test_without_a_database_it_says_so(cli: Cli) -> None:
    cli.here("rebuild", DATABASE_URL="postgresql://127.0.0.1:1/x").failed(4, "PostgreSQL")
