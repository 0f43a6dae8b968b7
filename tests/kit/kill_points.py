"""What a process may be killed at: the world in which it dies, and a case for every failpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from local.sandbox import SandboxServer, worst_window
from queueing import Batch, Priority
from runtime.failpoints import Point
from scheduler.process import TickScheduler
from tests.kit.dying import Orders, Stable
from tests.kit.worker import CRITICAL, OTHERS, Site, assert_no_key_stays
from worker.ticks import BARS, BATCH, DRAIN, SECONDARY

WINDOW_S = 0.5
LIMIT = 5
PRIORITY = [asset.symbol for asset in CRITICAL]
SECOND = [asset.symbol for asset in OTHERS]
SCHEDULER = "scheduler"
BY_HAND = "until time passes"


@dataclass
class World:
    """One site, processes that die there, and what goes on without them."""

    site: Site
    provider: SandboxServer
    stable: Stable
    env: dict[str, str]
    arrived_before: int

    @property
    def orders(self) -> Orders:
        return self.stable.orders

    def skip_slots(self) -> None:
        """The present slots' work is done: only what the test asks for is to do."""
        site, settings = self.site, self.site.context.settings
        now_ms = site.context.redis_now_ms()
        interval_ms = settings.batch_interval_minutes * 60_000
        slot = now_ms // interval_ms * interval_ms
        batch = Batch(str(slot // 1000), slot, slot + interval_ms, interval_ms, 0, ())
        site.context.queue.enqueue([], Priority.CRITICAL, batch=batch)
        every_s = settings.secondary_interval_minutes * 60
        done = str(now_ms // 1000 // every_s * every_s)
        site.context.redis.set(site.context.keys.secondary, done, px=86_400_000)

    def leave_boundaries(self) -> None:
        """Lets the scheduler of this test think that no slot begins within two minutes."""
        now_ms = self.site.context.redis_now_ms()
        self.site.context.shift(now_ms // 1_800_000 * 1_800_000 - 120_000 - now_ms)

    def ask(self, *symbols: str) -> None:
        self.skip_slots()
        self.site.ask(*(symbols or ("EURUSD",)))

    def entries_due(self) -> None:
        """The schedule stands, and the time of each entry has come."""
        scheduler = self.scheduler()
        scheduler.run_once()
        self.site.ticks.queue.empty()
        now_ms = self.site.context.redis_now_ms()
        for entry in scheduler._entries.values():
            place = scheduler.scheduled_jobs_key
            scheduler.connection.zadd(place, {entry.id: entry.slot(now_ms)})

    def scheduler(self) -> TickScheduler:
        return TickScheduler(self.site.context, self.site.ticks)

    def time_passes(self) -> None:
        """What the dead process held runs out now (test_recovery.py waits for it to happen)."""
        r, keys = self.site.context.redis, self.site.context.keys
        leased: Any = r.zrange(keys.leases, 0, -1)
        for symbol in leased:
            r.zadd(keys.leases, {symbol: self.site.context.redis_now_ms()}, xx=True)
        if self.site.context.limiter.status().blocked_reason == BY_HAND:
            self.site.context.limiter.block(0, "over", force=True)
        r.pexpire(keys.scheduler_lock, 1)
        r.pexpire(keys.waiter, 1)

    def go_on(self) -> None:
        """A second in the life of those that live: a pass, and a worker for each tick."""
        self.scheduler().run_once()
        waiting = self.site.ticks.queue
        for job_id in waiting.job_ids:
            waiting.remove(job_id)
            assert self.stable.run(job_id.partition("-")[0], self.env) == 0

    def refreshed(self, symbols: list[str]) -> bool:
        """Are these refreshed, and is nothing under way any more?"""
        self.go_on()
        pending = self.site.context.queue.size
        return pending == 0 and set(symbols) <= set(self.site.events())

    def check(self) -> None:
        """The promises, whatever happened."""
        site, keys = self.site, self.site.context.keys
        r = site.context.redis
        for symbol in [*PRIORITY, *SECOND]:
            assert site.where(symbol) == "nowhere", symbol
        assert site.context.queue.dead() == []
        entries: Any = r.xrange(keys.updates)
        seen = [json.loads(fields["event"]) for _, fields in entries]
        told = [(event["symbol"], event["observed_at_ms"]) for event in seen]
        assert len(told) == len(set(told)), "one observation, one event"
        assert told == sorted(told, key=lambda t: t[1]), "never an older one after a newer"
        for symbol, observed_at_ms in dict(told).items():
            stored = site.one(
                """SELECT (metadata #>> '{last_update,observed_at_ms}')::bigint
                   FROM trading.symbols WHERE symbol = %s""",
                symbol,
            )
            assert stored == observed_at_ms, f"{symbol}: the newest event is the row"
            assert site.status(symbol) == ("success", None)
        standing = set(r.zrange(keys.scheduler_entries, 0, -1))
        assert standing == {"every-batch", "every-secondary"}, "the schedule is complete"
        assert r.pttl(keys.scheduler_lock) <= 0, "the lock is free"
        arrivals = self.provider.arrivals()[self.arrived_before :]
        assert worst_window([a.mono_s for a in arrivals], WINDOW_S) <= LIMIT
        assert_no_key_stays(r, site.context.settings)


Arrange = Callable[[World], None]


@dataclass(frozen=True)
class Case:
    """Which process dies, what it was about, and what must be refreshed all the same."""

    tick: str
    arrange: Arrange
    refreshed: list[str]


def _asked(world: World) -> None:
    world.ask()


def _two_calls(world: World) -> None:
    """The second one is claimed in the step that ends the first."""
    world.site.capabilities.refuse("snapshot_v3", "not in this plan")
    world.ask("EURUSD", "BTCUSD")


def _failing(world: World) -> None:
    world.ask()
    world.provider.configure({"kind": "server_error", "count": 1})


def _limited(world: World) -> None:
    world.ask()
    world.provider.configure({"kind": "rate_limited", "count": 1, "retry_after_s": 0.5})


def _cut_short(world: World) -> None:
    """Another tick waits: the drain leaves at once, with its work undone."""
    world.ask()
    world.site.ticks.push(SECONDARY, "1")


def _blocked(world: World) -> None:
    world.ask()
    world.site.context.limiter.block(60_000, BY_HAND)


def _nothing(world: World) -> None:
    return


ONE = ["EURUSD"]
DRAINS = Case(DRAIN, _asked, ONE)
BOTH = Case(DRAIN, _two_calls, ["EURUSD", "BTCUSD"])
FAILS = Case(DRAIN, _failing, ONE)
BEGINS = Case(BATCH, _nothing, PRIORITY)
ROUND = Case(SECONDARY, _nothing, SECOND)
NEW_BARS = Case(BARS, _nothing, [])
FRESH = Case(SCHEDULER, _nothing, [*PRIORITY, *SECOND])
CASES: dict[Point, list[Case]] = {
    Point.BATCH_BEFORE: [BEGINS],
    Point.BATCH_BEFORE_BARS: [BEGINS],
    Point.BATCH_BEGUN: [BEGINS],
    Point.SECONDARY_ENQUEUED: [ROUND],
    Point.SECONDARY_NOTED: [ROUND],
    Point.BARS_ENQUEUED: [NEW_BARS],
    Point.BARS_NOTED: [NEW_BARS],
    Point.CLAIM_BEFORE: [DRAINS],
    Point.CLAIMED: [DRAINS, Case(DRAIN, lambda w: w.ask(*PRIORITY), PRIORITY)],
    Point.SEND_BEFORE: [DRAINS],
    Point.ANSWERED: [DRAINS],
    Point.PROVIDER_TOLD: [FAILS, Case(DRAIN, _limited, ONE)],
    Point.WRITE_BEFORE: [DRAINS, FAILS],
    Point.COMMIT_BEFORE: [DRAINS, FAILS],
    Point.COMMITTED: [DRAINS, FAILS],
    Point.END_BEFORE: [DRAINS, FAILS],
    Point.ENDED: [DRAINS, FAILS, BOTH],
    Point.WAIT_BEFORE: [Case(DRAIN, _blocked, ONE)],
    Point.RETIRE_BEFORE: [DRAINS, Case(DRAIN, _cut_short, ONE)],
    Point.RETIRED: [DRAINS, Case(DRAIN, _cut_short, ONE)],
    Point.LOCK_TAKEN: [FRESH],
    Point.ENTRY_RESTORED: [FRESH],
    Point.PUSH_BEFORE: [FRESH],
    Point.PUSHED: [Case(SCHEDULER, World.entries_due, [*PRIORITY, *SECOND])],
    Point.REARMED: [Case(SCHEDULER, World.entries_due, [*PRIORITY, *SECOND])],
    Point.REAPED: [Case(SCHEDULER, _asked, ONE)],
    Point.LOCK_KEPT: [FRESH],
}
