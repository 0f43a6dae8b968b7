"""A world whose clock is moved: real servers, the sandbox, and what the ticks of workers do.

Valkey, PostgreSQL, the sandbox and the workers' code read one clock (a preloaded `clock_gettime`).
Time jumps from one event to the next: the next slot of a round, or what the queue waits for. Each
tick opens a session of its own, asks, and drains, as one that RQ runs.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final, Self

from db.connection import Connection, connect
from db.migrate import migrate
from db.symbols import Asset, SymbolRepository
from local.sandbox import SandboxServer, worst_window
from local.sandbox.instruments import load_instruments
from local.sandbox.plans import PLANS
from market.tiers import Tier
from runtime.context import Context
from scheduler.entries import entries
from settings import Settings
from settings.checkout import CATALOGUE
from tests.chaos.clock import Clock
from tests.proofs.judge import Judge, midnight
from tests.proofs.servers import Servers, set_clock
from tests.proofs.vendor import Vendor, VendorSeries
from worker.batch import begin
from worker.capabilities import Capabilities
from worker.follow import enqueue_new_bars
from worker.secondary import enqueue_secondary
from worker.tasks import TickSession, open_session
from worker.ticks import BARS, BATCH, SECONDARY

_ROUNDS: Final[dict[str, Callable[[Context, Connection, Capabilities], Any]]] = {
    BATCH: begin,
    SECONDARY: enqueue_secondary,
    BARS: enqueue_new_bars,
}


@dataclass
class Days:
    """One world, from its first instant on."""

    clock: Clock
    settings: Settings
    sandbox: SandboxServer
    vendor: Vendor
    judge: Judge
    began: datetime
    _slots: dict[str, int] = field(default_factory=dict)

    @classmethod
    @contextmanager
    def begin(
        cls,
        servers: Servers,
        at: datetime,
        assets: Sequence[Asset],
        *,
        plan: str = "free",
        history_days: int = 7,
    ) -> Iterator[Self]:
        """A world that has known nothing before that instant."""
        set_clock(servers.clock, at)
        redis_url, database_url = servers.empty()
        migrate(database_url)
        with connect(database_url) as connection:
            SymbolRepository(connection).upsert_many(assets)
        vendor = Vendor()
        # Without a limit: it is judged afterwards, on the moved clock.
        with SandboxServer(plan=plan, limit=0, day_turns_in_new_york=True) as sandbox:
            instruments = load_instruments([CATALOGUE])
            sandbox.app.series = VendorSeries(instruments, vendor)
            truth = VendorSeries(instruments, Vendor(vendor.holidays))
            given = {
                "MASSIVE_API_KEY": "proof",
                "REDIS_URL": redis_url,
                "DATABASE_URL": database_url,
                "POLYGON_BASE_URL": sandbox.url,
                "POLYGON_TIER": plan,
                "HISTORY_DAYS": str(history_days),
            }
            settings = Settings.load(given, env_file=None)
            judge = Judge(database_url, assets, truth)
            yield cls(servers.clock, settings, sandbox, vendor, judge, at)

    @property
    def now(self) -> datetime:
        return datetime.now(UTC)

    def move_to(self, at: datetime) -> None:
        """Let time pass while nothing runs."""
        if at > self.now:
            set_clock(self.clock, at)

    def run_until(self, at: datetime) -> None:
        """Let scheduler and workers run until then."""
        while self.now < at:
            with open_session(self.settings) as session:
                next_slot = self._slot(session)
            if self.now.minute % 30 < 5:
                self.judge.look(self.now)
            self.move_to(min(at, next_slot))
        self.judge.look(self.now)

    def restart(self) -> None:
        """Start scheduler and workers anew: they begin with the present slots."""
        self._slots.clear()

    def change_plan(self, plan: str) -> None:
        """The same key has another plan, and the settings say so after a restart."""
        self.sandbox.app.plan = PLANS[plan]
        changed = {"polygon_tier": Tier(plan)}
        self.settings = self.settings.model_copy(update=changed)
        self.restart()

    def _slot(self, session: TickSession) -> datetime:
        """Ask for what this slot's ticks ask for, then drain until the next slot; returns that."""
        now_ms = int(time.time() * 1000)
        for entry in entries(self.settings):
            if self._slots.get(entry.kind) != entry.slot(now_ms):
                self._slots[entry.kind] = entry.slot(now_ms)
                ask = _ROUNDS[entry.kind]
                ask(session.context, session.connection, session.capabilities)
        next_slot = datetime.fromtimestamp(
            min(entry.next_slot(now_ms) for entry in entries(self.settings)), UTC
        )
        while self.now < next_slot:
            session.drain(patient=False)
            wait_ms = session.context.queue.next_at().wait_ms
            if wait_ms is None:
                break
            self.move_to(min(next_slot, self.now + timedelta(milliseconds=wait_ms)))
        return next_slot

    def calls_by_day(self) -> dict[date, int]:
        """What arrived at the provider on each UTC day."""
        return Counter(
            datetime.fromtimestamp(arrival.wall_s, UTC).date()
            for arrival in self.sandbox.arrivals()
        )

    def differences(self, *, newest: date) -> list[str]:
        """What is wrong with the series from the beginning of their history up to that day."""
        first = (self.began - timedelta(days=self.settings.history_days)).date()
        return self.judge.differences(first, newest)

    def worst_window(self, *, before: date | None) -> int:
        """The most calls in any minute of the moved clock, up to that day."""
        times = [arrival.wall_s for arrival in self.sandbox.arrivals()]
        if before is not None:
            end_s = midnight(before + timedelta(days=1)).timestamp()
            times = [wall_s for wall_s in times if wall_s < end_s]
        return worst_window(times, 60.0)
