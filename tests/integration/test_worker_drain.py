"""Drains on real servers: which waits, which leaves, which follows, and none runs in circles."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import redis

from local.sandbox import SandboxServer
from queueing import Claimed, GiveBack, Hint, NotNow, PriorityQueue
from runtime.stopping import StopFlag
from tests.kit import worker as worker_kit
from tests.kit.waiting import eventually
from tests.kit.worker import Gate, Site, settings_for
from worker.drain import SLOW_S, Drained
from worker.ticks import BATCH, DRAIN

OPEN = Callable[..., Site]


@dataclass
class Fleet:
    """Sites like those of several workers, and drains in threads of their own."""

    open_: OPEN
    ended: dict[str, Drained] = field(default_factory=dict)
    threads: list[threading.Thread] = field(default_factory=list)
    stops: dict[str, StopFlag] = field(default_factory=dict)

    def start(self, name: str, *, slice_s: float = 5.0, **settings: Any) -> None:
        self.begin(name, self.open_(**settings), slice_s=slice_s)

    def begin(self, name: str, site: Site, *, slice_s: float) -> None:
        """A drain on a site that stands already."""
        stop = self.stops[name] = StopFlag()

        def work() -> None:
            self.ended[name] = site.drain(stop=stop, slice_s=slice_s, name=name).run()

        thread = threading.Thread(target=work, daemon=True)
        self.threads.append(thread)
        thread.start()

    def stop(self, name: str) -> None:
        """As a signal would."""
        self.stops[name].set()

    def join(self, timeout_s: float = 60.0) -> None:
        for thread in self.threads:
            thread.join(timeout_s)
            assert not thread.is_alive()


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def provider(gate: Gate) -> Iterator[SandboxServer]:
    with worker_kit.sandbox("starter", on_request=gate) as server:
        yield server


@pytest.fixture
def opened(redis_url: str, migrated_url: str, provider: SandboxServer) -> Iterator[OPEN]:
    with ExitStack() as stack:

        def open_(**more: Any) -> Site:
            settings = settings_for(redis_url, migrated_url, provider.url, **more)
            return stack.enter_context(Site.open(settings))

        yield open_


@pytest.fixture
def fleet(opened: OPEN) -> Iterator[Fleet]:
    fleet = Fleet(opened)
    yield fleet
    for name in fleet.stops:
        fleet.stop(name)
    fleet.join()


def waiter(site: Site) -> str | None:
    name: Any = site.context.redis.get(site.context.keys.waiter)
    return None if name is None else str(name)


def ticks_waiting(site: Site) -> list[str]:
    return [job_id.partition("-")[0] for job_id in site.ticks.queue.job_ids]


def test_it_leaves_when_nothing_is_pending(opened: OPEN) -> None:
    site = opened()
    site.ask("EURUSD", "BTCUSD")
    drained = site.drain().run()
    assert (drained.calls, drained.ended) == (1, "empty")
    assert ticks_waiting(site) == []
    assert waiter(site) is None


def test_the_end_of_a_call_claims_the_next_one(
    opened: OPEN, monkeypatch: pytest.MonkeyPatch
) -> None:
    site, claims = opened(), list[str]()
    queue = site.context.queue
    queue.policy = replace(queue.policy, spacing_ms=0)
    real = PriorityQueue.claim

    def claim(queue: PriorityQueue, **how: Any) -> Claimed | NotNow:
        claims.append(how["who"])
        return real(queue, **how)

    monkeypatch.setattr(PriorityQueue, "claim", claim)
    site.capabilities.refuse("snapshot_v3", "not in this plan")
    site.ask("XAUUSD", "EURUSD", "BTCUSD")
    assert site.drain().run() == Drained(3, "empty")
    assert claims == ["d"]
    assert sorted(site.events()) == ["BTCUSD", "EURUSD", "XAUUSD"]


def test_a_drain_that_is_to_end_claims_nothing_with_an_end(opened: OPEN) -> None:
    site, signals = opened(), StopFlag()
    site.capabilities.refuse("snapshot_v3", "not in this plan")
    site.ask("EURUSD", "BTCUSD")

    class Stopped(StopFlag):
        """A signal comes while the first call is under way."""

        def is_set(self) -> bool:
            if site.context.redis.zcard(site.context.keys.leases):
                signals.set()
            return signals.is_set()

    assert site.drain(stop=Stopped()).run() == Drained(1, "stop")
    assert site.events() == ["EURUSD"]
    assert site.where("BTCUSD") == "queue"


def test_it_waits_in_place_until_the_next_call_is_free(
    opened: OPEN, provider: SandboxServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two calls per window of 0.4 s: places are free again 0.5 s after an answer."""
    monkeypatch.setattr("worker.drain.SLOW_S", 60)  # the provider is quick, the machine may be busy
    site = opened(polygon_rate_limit=2, rate_window_seconds=0.4)
    for symbol in ("XAUUSD", "EURUSD", "BTCUSD", "GBPUSD", "USDJPY"):
        site.capabilities.refuse("snapshot_v3", "not in this plan")
        site.ask(symbol)
    began = time.monotonic()
    drained = site.drain(slice_s=60).run()
    assert drained.ended == "empty"
    assert len(provider.arrivals()) == 5
    assert 1.0 <= time.monotonic() - began < 30
    assert site.events() == ["XAUUSD", "EURUSD", "BTCUSD", "GBPUSD", "USDJPY"]
    assert ticks_waiting(site) == [], "a quick provider needs no more hands"


def test_an_enqueue_wakes_the_one_that_waits(fleet: Fleet, opened: OPEN) -> None:
    site = opened()
    site.ask("BTCUSD")
    call = site.claim()
    later = GiveBack("BTCUSD", delay_ms=60_000)
    site.context.queue.end(call.claimed, [later], answered=True)
    fleet.start("d1", slice_s=60)  # it would not look again before its end
    eventually(lambda: waiter(site) == "d1")
    site.ask("EURUSD")
    eventually(lambda: site.events() == ["EURUSD"])
    eventually(lambda: waiter(site) == "d1", what="and it waits again")


def test_only_one_of_four_waits(fleet: Fleet, opened: OPEN) -> None:
    site = opened()
    site.ask("BTCUSD")
    site.context.limiter.block(30_000, "by hand")
    for number in range(4):
        fleet.start(f"d{number}", slice_s=60)
    eventually(lambda: len(fleet.ended) == 3, what="three of four have left")
    assert {d.ended for d in fleet.ended.values()} == {"another"}
    waits = waiter(site)
    assert waits is not None
    assert waits not in fleet.ended
    assert ticks_waiting(site) == [], "a drain that leaves to the waiting one pushes no successor"
    fleet.stop(waits)
    fleet.join()
    assert sorted(d.ended for d in fleet.ended.values()) == [
        "another",
        "another",
        "another",
        "stop",
    ]


def test_nobody_runs_in_circles_while_everybody_waits_for_quota(fleet: Fleet, opened: OPEN) -> None:
    """Two workers once pushed drain ticks to each other without end."""
    rules: dict[str, Any] = {"polygon_rate_limit": 1, "rate_window_seconds": 1}
    site = opened(**rules)
    site.capabilities.refuse("snapshot_v3", "not in this plan")
    for symbol in ("XAUUSD", "EURUSD", "BTCUSD"):
        site.ask(symbol)
    runs, until = 0, time.monotonic() + 2.0
    fleet.start("waiting", slice_s=2.2, **rules)
    eventually(lambda: waiter(site) == "waiting")
    site.context.redis.config_resetstat()
    while time.monotonic() < until:  # the second worker: runs every tick that lies there
        if DRAIN in ticks_waiting(site):
            site.ticks.queue.empty()
            site.drain(slice_s=1).run()
            runs += 1
        threading.Event().wait(0.02)
    assert runs <= 2
    fleet.join()


def test_the_slice_ends_and_a_successor_follows(opened: OPEN) -> None:
    rules: dict[str, Any] = {"polygon_rate_limit": 1, "rate_window_seconds": 5}
    site = opened(**rules)
    site.capabilities.refuse("snapshot_v3", "not in this plan")
    site.ask("EURUSD")
    site.ask("BTCUSD")
    began = time.monotonic()
    drained = site.drain(slice_s=1.5).run()
    assert (drained.calls, drained.ended) == (1, "slice")
    assert time.monotonic() - began < 5, "sooner than the next call is free"
    assert ticks_waiting(site) == [DRAIN]
    assert waiter(site) is None


def test_no_successor_for_what_is_far_away(opened: OPEN) -> None:
    site = opened()
    site.ask("EURUSD")
    site.context.limiter.block(300_000, "by hand")
    assert site.drain(slice_s=0.3).run().ended == "slice"
    assert ticks_waiting(site) == [], "the scheduler's pass starts one when it is time"


def test_a_lease_is_waited_for(opened: OPEN) -> None:
    """Without a scheduler too: whose worker died is taken up by the drain that has nothing else."""
    site = opened()
    site.ask("EURUSD")
    site.claim()
    keys = site.context.keys
    site.context.redis.zadd(keys.leases, {"EURUSD": site.context.redis_now_ms() + 700})
    drained = site.drain().run()
    assert (drained.calls, drained.ended) == (1, "empty")
    assert site.events() == ["EURUSD"]


def test_a_lease_that_outlives_the_drain_has_a_successor_that_waits(opened: OPEN) -> None:
    site = opened()
    site.ask("EURUSD")
    site.claim()
    drained = site.drain(slice_s=0.3).run()
    assert (drained.calls, drained.ended) == (0, "slice")
    assert ticks_waiting(site) == [DRAIN]


def test_another_tick_that_waits_goes_first(opened: OPEN) -> None:
    site = opened()
    site.ask("EURUSD")
    site.ticks.push(BATCH, "1", urgent=True)
    drained = site.drain().run()
    assert (drained.calls, drained.ended) == (0, "tick")
    assert ticks_waiting(site) == [BATCH, DRAIN], "and a successor goes on behind it"


def test_a_tick_wakes_the_one_that_waits(fleet: Fleet, opened: OPEN) -> None:
    site = opened()
    site.ask("EURUSD")
    site.context.limiter.block(30_000, "by hand")
    fleet.start("d1", slice_s=120)
    eventually(lambda: waiter(site) == "d1")
    site.ticks.push(BATCH, "1", urgent=True)
    eventually(lambda: "d1" in fleet.ended)
    assert fleet.ended["d1"].ended == "tick"


def test_a_stop_during_a_call_finishes_the_call_and_claims_no_more(
    fleet: Fleet, opened: OPEN, provider: SandboxServer, gate: Gate
) -> None:
    gate.close()
    site = opened()
    site.capabilities.refuse("snapshot_v3", "not in this plan")
    for symbol in ("EURUSD", "BTCUSD"):
        site.ask(symbol)
    fleet.start("d1", slice_s=20)
    eventually(lambda: len(provider.arrivals()) == 1)
    fleet.stop("d1")
    gate.open()
    fleet.join()
    assert fleet.ended["d1"] == Drained(1, "stop")
    assert site.events() == ["EURUSD"]
    assert site.where("BTCUSD") == "queue"
    assert ticks_waiting(site) == [DRAIN], "another drain goes on at once"


def test_more_hands_are_called_while_calls_are_free_and_slow(
    opened: OPEN, provider: SandboxServer
) -> None:
    site = opened()
    provider.configure({"kind": "delay", "min_s": SLOW_S + 0.1, "max_s": SLOW_S + 0.1})
    site.capabilities.refuse("snapshot_v3", "not in this plan")
    for symbol in ("EURUSD", "BTCUSD", "GBPUSD"):
        site.ask(symbol)
    site.drain().run()
    assert ticks_waiting(site) == [DRAIN]
    assert site.drain().run() == Drained(0, "empty")


def test_a_call_goes_on_where_redis_refuses_more_hands(
    opened: OPEN, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> bool:
        raise redis.exceptions.ReadOnlyError("You can't write against a read only replica.")

    site = opened()
    site.capabilities.refuse("snapshot_v3", "not in this plan")
    site.ask("EURUSD", "BTCUSD", "GBPUSD")
    monkeypatch.setattr("worker.drain.SLOW_S", 0)
    drain = site.drain()
    with monkeypatch.context() as refusing:
        refusing.setattr(site.ticks, "ensure_drain", refuse)
        assert drain.run() == Drained(3, "empty")
    assert sorted(site.events()) == ["BTCUSD", "EURUSD", "GBPUSD"]


def test_a_lost_wake_up_is_found_when_it_retires(
    opened: OPEN, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that came while it was about to leave: a successor looks at it."""
    site = opened()
    site.ask("EURUSD")
    site.context.limiter.block(300_000, "by hand")
    keys, r = site.context.keys, site.context.redis

    def late(timeout_s: float, *, stop: Callable[[], bool]) -> bool:
        threading.Event().wait(timeout_s)
        r.lpush(keys.wake, "late")
        return False

    monkeypatch.setattr(site.context.queue, "wait", late)
    assert site.drain(slice_s=0.2).run().ended == "slice"
    assert ticks_waiting(site) == [DRAIN]


def test_a_flushed_redis_holds_calls_unless_nobody_has_called(opened: OPEN) -> None:
    """The first start does not wait; after a flush while drains run, one window passes."""
    rules: dict[str, Any] = {"polygon_rate_limit": 2, "rate_window_seconds": 1.0}
    site = opened(**rules)
    site.ask("EURUSD")
    assert site.drain().run().calls == 1
    holds = site.context.redis.hget(site.context.keys.counters, "holds")
    assert holds is None, "PostgreSQL knows that there were no calls"
    site.context.redis.flushall()
    site.ask("BTCUSD")
    began = time.monotonic()
    assert site.drain(slice_s=60).run().calls == 1
    assert site.context.redis.hget(site.context.keys.counters, "holds") == "1"
    assert time.monotonic() - began > 2.0, "send budget and window, as calls may be under way"


def test_a_restored_snapshot_of_redis_holds_calls(opened: OPEN) -> None:
    """The server is the same, and does not know a call that counts: PostgreSQL does."""
    site = opened(polygon_rate_limit=3, rate_window_seconds=20)
    r = site.context.redis
    site.ask("EURUSD")
    assert site.drain().run().calls == 1
    with redis.Redis.from_url(site.context.settings.redis_url) as raw:
        snapshot: Any = {key: raw.dump(key) for key in raw.keys("assetq:*")}
        site.ask("BTCUSD")
        assert site.drain().run().calls == 1
        for key, value in snapshot.items():
            raw.restore(key, 0, value, replace=True)
    site.ask("GBPUSD")
    assert site.drain(slice_s=0.2).run().calls == 0
    assert site.context.limiter.status().urgent[1] == "hold"
    r.hset(site.context.keys.quota, "hold_until", 0)
    assert site.drain(slice_s=0.2).run().calls == 0, "it is noticed again"


def test_redis_commands_per_granted_call(opened: OPEN, redis_url: str) -> None:
    """A regression guard: what one refresh costs in round trips, give or take one."""
    site = opened()
    site.capabilities.refuse("snapshot_v3", "not in this plan")
    for number in range(4):
        site.ask(("EURUSD", "BTCUSD", "GBPUSD", "USDJPY")[number])
    site.ticks.push(DRAIN)  # so that it calls for no more hands
    with redis.Redis.from_url(redis_url) as meter:

        def commands() -> int:
            stats: Any = meter.info("commandstats")
            outer = ("cmdstat_evalsha", "cmdstat_eval", "cmdstat_lrange", "cmdstat_hgetall")
            return sum(stats[name]["calls"] for name in outer if name in stats)

        before = commands()
        assert site.drain().run().calls == 4
        assert commands() - before <= 4 * 5 + 12


def test_what_is_said_to_be_due_and_is_not_granted_makes_no_circle(
    opened: OPEN, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the reason: a drain asks ever more slowly."""
    site, claims = opened(), 0

    def in_vain(**_: Any) -> NotNow:
        nonlocal claims
        claims += 1
        now_ms = site.context.redis_now_ms()
        return NotNow(Hint(now_ms, now_ms, "free"))

    monkeypatch.setattr(site.context.queue, "claim", in_vain)
    assert site.drain(slice_s=1.0).run().ended == "slice"
    assert 2 <= claims <= 10
