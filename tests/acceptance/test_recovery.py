"""Workers that die, stop, or wake up too late, and items that kill: as a host would see it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from db.symbols import Asset, SymbolRepository
from local.sandbox import SandboxServer
from runtime.failpoints import Point
from settings import Settings
from tests.kit import worker as worker_kit
from tests.kit.cli_runs import Cli
from tests.kit.dying import DIED, LEASE_MS, Dying, Orders, Stable
from tests.kit.waiting import eventually
from tests.kit.worker import CRITICAL, KEY, OTHERS, Site, process_env, settings_for
from worker.capabilities import Capabilities
from worker.secondary import enqueue_secondary
from worker.ticks import DRAIN
from worker.work import is_bars

TAKEN_UP_WITHIN_MS = 5_000
NOBODY_KNOWS = Asset("NOPEUSD", "X:NOPEUSD", "crypto", None, 3)
COINS = [Asset(f"CO{n:03}USD", f"X:CO{n:03}USD", "crypto", None, 3) for n in range(250)]
START = Callable[[str], Dying]


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[SandboxServer]:
    listed = tmp_path / "tickers.txt"
    listed.write_text("\n".join(coin.polygon_ticker for coin in COINS))
    with worker_kit.sandbox("starter", tickers=[listed]) as server:
        yield server


@pytest.fixture
def site(
    redis_url: str,
    migrated_url: str,
    provider: SandboxServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Site]:
    monkeypatch.setattr(Settings, "lease_ms", LEASE_MS)
    settings = settings_for(
        redis_url,
        migrated_url,
        provider.url,
        request_timeout_seconds=10,
        retry_max_attempts=0,
        priority_assets_enabled="false",
    )
    with Site.open(settings, (*CRITICAL, *OTHERS, NOBODY_KNOWS)) as opened:
        known = Capabilities(opened.context)
        known.refuse(known.bars_feed.name, "prices alone are looked at here")
        yield opened


@pytest.fixture
def env(site: Site, tmp_path: Path) -> dict[str, str]:
    more = {"PRIORITY_ASSETS_ENABLED": "false", "RETRY_MAX_ATTEMPTS": "0"}
    return process_env(site.context.settings, tmp_path, PYTHONUNBUFFERED="1", **more)


@pytest.fixture
def orders(tmp_path: Path) -> Orders:
    return Orders(tmp_path / "orders")


@pytest.fixture
def start(
    site: Site, env: dict[str, str], orders: Orders, project_root: Path, tmp_path: Path
) -> Iterator[START]:
    """Starts processes; the present round counts as done, so that a test asks for what it needs."""
    round_done(site)
    with ExitStack() as stack:
        count = 0

        def run(name: str) -> Dying:
            nonlocal count
            count += 1
            one = Dying(project_root, name, env, tmp_path / f"{name}{count}.log", orders)
            stack.callback(one.end)
            return one

        yield run


def round_done(site: Site) -> None:
    interval_s = site.context.settings.secondary_interval_minutes * 60
    slot = site.context.redis_now_ms() // 1000 // interval_s * interval_s
    site.context.redis.set(site.context.keys.secondary, str(slot), px=86_400_000)


def deadline_ms(site: Site, symbol: str) -> float:
    at = site.context.redis.zscore(site.context.keys.leases, symbol)
    assert at is not None, f"{symbol} is not leased"
    return float(at)


def events(site: Site, symbol: str) -> list[dict[str, Any]]:
    entries: Any = site.context.redis.xrange(site.context.keys.updates)
    seen = [json.loads(fields["event"]) for _, fields in entries]
    return [event for event in seen if event["symbol"] == symbol]


def observed_ms(site: Site, symbol: str) -> int:
    query = """SELECT (metadata #>> '{last_update,observed_at_ms}')::bigint
               FROM trading.symbols WHERE symbol = %s"""
    return int(site.one(query, symbol) or 0)


def struck(site: Site, orders: Orders, point: Point, symbol: str) -> float:
    """Asks for a symbol whose worker is struck at the point; when its lease ends."""
    site.ask(symbol)
    site.ticks.ensure_drain()
    eventually(lambda: not orders.pending(point), what=f"a process at {point.name}")
    return deadline_ms(site, symbol)


# --- in time, whichever processes run


@pytest.mark.parametrize("scheduled", [True, False])
def test_what_a_dead_work_horse_held_is_taken_up_in_time(
    site: Site, start: START, orders: Orders, scheduled: bool
) -> None:
    """By the scheduler's pass; or, without one, by a drain that has nothing else to do."""
    if scheduled:
        start("scheduler")
    worker = start("worker")
    for crash in range(3 if scheduled else 1):  # as many as poison takes, each forgiven
        orders.give(Point.CLAIMED)
        until_ms = struck(site, orders, Point.CLAIMED, "EURUSD")
        if not scheduled:
            site.ticks.push(DRAIN)  # any drain: it came for something else, say
        eventually(lambda n=crash: len(events(site, "EURUSD")) > n)  # type: ignore[misc]
        late_ms = events(site, "EURUSD")[-1]["observed_at_ms"] - until_ms
        print(f"taken up {late_ms:.0f} ms after its lease ended")
        assert 0 <= late_ms <= TAKEN_UP_WITHIN_MS
        eventually(lambda: site.where("EURUSD") == "nowhere")
    assert site.context.queue.dead() == []
    assert worker.process.poll() is None


def test_a_lone_scheduler_takes_back_what_a_dead_worker_held(
    site: Site, start: START, orders: Orders
) -> None:
    scheduler, worker = start("scheduler"), start("worker")
    orders.give(Point.COMMITTED)
    until_ms = struck(site, orders, Point.COMMITTED, "EURUSD")
    worker.end()
    assert events(site, "EURUSD") == [], "stored, not told"
    eventually(lambda: site.where("EURUSD") == "queue")
    assert site.context.redis_now_ms() - until_ms <= TAKEN_UP_WITHIN_MS
    assert site.item("EURUSD").crashes == 1
    eventually(lambda: site.ticks.waiting(DRAIN), what="a tick for the worker to come")
    start("worker")
    eventually(lambda: len(events(site, "EURUSD")) == 1)
    assert scheduler.process.poll() is None


def test_a_deploy_is_no_crash(site: Site, start: START, provider: SandboxServer) -> None:
    """SIGTERM in the middle of a call: the call is finished, and no item is suspected."""
    worker = start("worker")
    provider.configure({"kind": "delay", "min_s": 0.3, "max_s": 0.3})
    site.ask("EURUSD")
    site.ticks.push(DRAIN)
    eventually(lambda: provider.arrivals())
    assert worker.terminate(within_s=25) == 0
    assert len(events(site, "EURUSD")) == 1
    assert site.where("EURUSD") == "nowhere"
    assert site.context.redis.hget(site.context.keys.counters, "reaped") is None


# --- zombies


def test_a_zombie_changes_and_tells_nothing(site: Site, start: START, orders: Orders) -> None:
    """Stopped at a step until another worker has done its work, then awake again."""
    start("scheduler")
    workers = [start("worker"), start("worker")]
    arrived = {
        Point.SEND_BEFORE: "EURUSD",
        Point.ANSWERED: "BTCUSD",
        Point.WRITE_BEFORE: "GBPUSD",
        Point.END_BEFORE: "USDJPY",
    }
    for number, (point, symbol) in enumerate(arrived.items(), 1):
        orders.give(point, signal.SIGSTOP)
        until_ms = struck(site, orders, point, symbol)
        eventually(lambda s=symbol: len(events(site, s)) == 1)  # type: ignore[misc]
        newer_ms = events(site, symbol)[0]["observed_at_ms"]
        print(f"taken up {newer_ms - until_ms:.0f} ms after its lease ended")
        assert newer_ms - until_ms <= TAKEN_UP_WITHIN_MS
        stored = site.one("SELECT metadata FROM trading.symbols WHERE symbol = %s", symbol)
        [zombie] = [pid for worker in workers for pid in worker.horses() if stopped(pid)]
        os.kill(zombie, signal.SIGCONT)
        eventually(
            lambda n=number: sum(w.output.count("lease.lost") for w in workers) == n,  # type: ignore[misc]
            what=f"the zombie of {point.name} learns it",
        )
        eventually(lambda z=zombie: not stopped(z))  # type: ignore[misc]
        assert len(events(site, symbol)) == 1
        assert observed_ms(site, symbol) == newer_ms
        assert stored == site.one("SELECT metadata FROM trading.symbols WHERE symbol = %s", symbol)
        eventually(lambda s=symbol: site.where(s) == "nowhere")  # type: ignore[misc]
    assert site.context.queue.dead() == []


def stopped(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except (FileNotFoundError, ProcessLookupError):  # it ended before, or while it was read
        return False


# --- items that kill


def test_one_among_250_buries_itself_alone(
    site: Site, start: START, orders: Orders, provider: SandboxServer
) -> None:
    """One call for all, one for each, and three for the killer until it is buried."""
    SymbolRepository(site.connection).upsert_many(COINS)
    killer = COINS[123].symbol
    orders.poison(killer)
    site.ask(*(coin.symbol for coin in COINS))
    start("scheduler")
    worker = start("worker")
    eventually(lambda: site.context.queue.size == 0, 120, every_s=0.2)
    [letter] = site.context.queue.dead()
    assert (letter.symbol, letter.kind, letter.crashes) == (killer, "poison", 3)
    others = sorted(coin.symbol for coin in COINS if coin.symbol != killer)
    assert sorted(site.events()) == others
    counters: Any = site.context.redis.hgetall(site.context.keys.counters)
    granted = sum(int(n) for name, n in counters.items() if name.startswith("granted:"))
    assert (granted, int(counters["lost_calls"])) == (1 + 249 + 3, 4)
    assert len(provider.arrivals()) == 249
    assert worker.process.poll() is None


def test_dead_letters_of_each_kind(
    site: Site,
    env: dict[str, str],
    orders: Orders,
    provider: SandboxServer,
    project_root: Path,
    tmp_path: Path,
) -> None:
    """Each died as it does in earnest; each comes back in its own way."""
    queue, keys, r = site.context.queue, site.context.keys, site.context.redis
    provider.configure({"kind": "server_error", "count": 1})
    site.refresh("GBPUSD")
    site.refresh("NOPEUSD")
    orders.poison("USDJPY")
    site.ask("USDJPY")
    with Stable(project_root, orders, tmp_path / "stable.log") as stable:
        for _ in range(3):
            assert stable.run("drain", env) == DIED
            r.zadd(keys.leases, {"USDJPY": site.context.redis_now_ms()}, xx=True)
            queue.reap()
        kinds = {letter.symbol: str(letter.kind) for letter in queue.dead()}
        assert kinds == {"GBPUSD": "transient", "NOPEUSD": "invalid", "USDJPY": "poison"}

        cli = Cli(tmp_path, env)
        listed = {row["symbol"]: row for row in cli.here("dead", "list", "--json").json}
        assert "500" in listed["GBPUSD"]["reason"]
        assert listed["NOPEUSD"]["rests_until"]
        assert listed["USDJPY"]["by_hand_only"]
        assert listed["USDJPY"]["crashes"] == 3

        # The next round brings back the transient one alone.
        first = enqueue_secondary(site.context, site.connection, Capabilities(site.context))
        assert set(first.dead) == {"NOPEUSD", "USDJPY"}
        assert site.where("GBPUSD") == "queue"

        # A day later the invalid one as well.
        r.zincrby(keys.dead, -24 * 3600 * 1000, "NOPEUSD")
        later = enqueue_secondary(site.context, site.connection, Capabilities(site.context))
        assert set(later.dead) == {"USDJPY"}
        assert site.where("NOPEUSD") == "queue"

        # The poison by hand only; it goes alone about its call, and is forgiven when it succeeds.
        (orders.directory / "refresh:USDJPY").unlink()
        assert cli.here("dead", "retry", "USDJPY").out == "USDJPY: enqueued\n"
        assert stable.run("drain", env) == 0
    assert site.where("GBPUSD") == site.where("USDJPY") == "nowhere"
    assert len(events(site, "USDJPY")) == len(events(site, "GBPUSD")) == 1
    left = [letter.symbol for letter in queue.dead() if not is_bars(letter.symbol)]
    assert left == ["NOPEUSD"], "it is still unknown"
    assert cli.here("dead", "drop", "NOPEUSD").out == "dropped 1\n"
    assert "NOPEUSD" not in [letter.symbol for letter in queue.dead()]
    assert KEY not in "".join(cli.said)
