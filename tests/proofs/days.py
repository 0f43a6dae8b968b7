"""A world whose clock is moved: real servers, the sandbox, and what the ticks of workers do.

Valkey, PostgreSQL, the sandbox and the workers' code read one clock (a preloaded `clock_gettime`).
Time jumps from one event to the next: the next slot of batch or secondary round, or what the queue
waits for. Each tick opens a session of its own, asks, and drains, as one that RQ runs.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

import psycopg
import redis

from db.connection import connect
from db.migrate import migrate
from db.symbols import Asset, SymbolRepository
from local.sandbox import SandboxServer, worst_window
from local.sandbox.hours import DAY_MS
from local.sandbox.instruments import load_instruments
from local.sandbox.plans import PLANS
from local.sandbox.series import Series
from local.servers.postgres import PostgresServer
from local.servers.process import Command
from local.servers.valkey import ValkeyServer
from market.tiers import Tier
from scheduler.entries import entries
from settings import Settings
from settings.checkout import CATALOGUE
from tests.chaos.clock import Clock
from tests.kit.truth import BAR_MS, compare
from tests.proofs.vendor import Vendor, VendorSeries
from worker.batch import begin
from worker.secondary import enqueue_secondary
from worker.tasks import TickSession, open_session
from worker.ticks import BATCH

DAY: Final = timedelta(days=1)
_SHARE: Final = 0.9
"""Bars of a complete day in relation to those of its market."""
_FINAL: Final = """
    SELECT c.symbol, c.day, c.status, (
        SELECT count(*) FROM market_data.ohlcv_5m AS bar
        WHERE bar.symbol_id = s.id AND bar.ts >= c.day::timestamp AT TIME ZONE 'UTC'
          AND bar.ts < (c.day + 1)::timestamp AT TIME ZONE 'UTC')
    FROM market_data.coverage AS c JOIN trading.symbols AS s ON s.symbol = c.symbol
    WHERE c.timeframe = '5m' AND c.status IN ('complete', 'closed')
      AND c.asked_at > now() - interval '35 minutes'"""
_OPEN: Final = """
    SELECT symbol, day, status FROM market_data.coverage
    WHERE timeframe = '5m' AND day BETWEEN %s AND %s AND status NOT IN ('complete', 'closed')"""


class ClockedValkey(ValkeyServer):
    """A Valkey on this process' clock."""

    def command(self) -> Command:
        command = super().command()
        names = ("LD_PRELOAD", "CLOCK_STEP_FILE")
        return replace(command, env={**command.env, **{name: os.environ[name] for name in names}})


def run_on_a_clock_of_its_own(folder: Path) -> int:
    """Run this process' command anew on a clock that can be set; returns its exit code."""
    return subprocess.call(sys.orig_argv, env=os.environ | Clock(folder).env)


def own_clock() -> Clock | None:
    """The clock of this process and all that it starts; None: it has the right time."""
    file = os.environ.get("CLOCK_STEP_FILE")
    return Clock(Path(file).parent) if file else None


def set_clock(clock: Clock, at: datetime) -> None:
    """Set the clock of this process and of all that it started."""
    clock.step(clock.ahead_s + math.ceil(at.timestamp() - time.time()))


@dataclass
class Servers:
    """Valkey and PostgreSQL on the moved clock, for one world after the other."""

    clock: Clock
    valkey: ClockedValkey
    postgres: PostgresServer
    _worlds: int = 0

    @classmethod
    @contextmanager
    def start(cls, folder: Path, clock: Clock) -> Iterator[Self]:
        valkey = ClockedValkey(folder / "valkey")
        postgres = PostgresServer(folder / "postgres", durable=False)
        with ExitStack() as stack:
            for server in (valkey, postgres):
                server.start()
                stack.callback(server.stop)
            yield cls(clock, valkey, postgres)

    def empty(self) -> tuple[str, str]:
        """The URLs of an empty Valkey and a new database."""
        with redis.Redis.from_url(self.valkey.url) as client:
            client.flushall()
        self._worlds += 1
        return self.valkey.url, self.postgres.ensure_database(f"world_{self._worlds}")


@dataclass
class Days:
    """One world, from its first instant on."""

    clock: Clock
    settings: Settings
    sandbox: SandboxServer
    assets: Sequence[Asset]
    vendor: Vendor
    began: datetime
    false_finals: list[str] = field(default_factory=list)
    """Days that coverage called complete or closed and that were not."""
    _slots: dict[str, int] = field(default_factory=dict)
    _bars: dict[tuple[str, date], int] = field(default_factory=dict)

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
            sandbox.app.series = VendorSeries(load_instruments([CATALOGUE]), vendor)
            given = {
                "MASSIVE_API_KEY": "proof",
                "REDIS_URL": redis_url,
                "DATABASE_URL": database_url,
                "POLYGON_BASE_URL": sandbox.url,
                "POLYGON_TIER": plan,
                "HISTORY_DAYS": str(history_days),
            }
            settings = Settings.load(given, env_file=None)
            yield cls(servers.clock, settings, sandbox, assets, vendor, at)

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
                self._find_false_finals()
            self.move_to(min(at, next_slot))
        self._find_false_finals()

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
                opened = (session.context, session.connection, session.capabilities)
                if entry.kind == BATCH:
                    begin(*opened)
                else:
                    enqueue_secondary(*opened)
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

    def _find_false_finals(self) -> None:
        """A day that is called complete has its bars in the table, and a closed one has none."""
        for symbol, day, status, stored in self.rows(_FINAL):
            bars = self._bars_of(symbol, day)
            wrong = stored < _SHARE * bars if status == "complete" else bars > 0
            if wrong or self.now < datetime(day.year, day.month, day.day, tzinfo=UTC) + DAY:
                at = f"{self.now:%m-%d %H:%M}"
                self.false_finals.append(f"{at}: {symbol} {day} {status}, {stored} of {bars} bars")

    def _bars_of(self, symbol: str, day: date) -> int:
        """How many bars the vendor will have of that day in the end."""
        if (symbol, day) not in self._bars:
            start_ms = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1000
            ticker = next(a.polygon_ticker for a in self.assets if a.symbol == symbol)
            bars = self._truth().bars(ticker, start_ms, start_ms + DAY_MS, BAR_MS)
            self._bars[symbol, day] = len(bars)
        return self._bars[symbol, day]

    def _truth(self) -> Series:
        """What the vendor will have once every hole is mended."""
        return VendorSeries(self.sandbox.app.series.instruments, Vendor(self.vendor.holidays))

    def calls_by_day(self) -> dict[date, int]:
        """What arrived at the provider on each UTC day."""
        return Counter(
            datetime.fromtimestamp(arrival.wall_s, UTC).date()
            for arrival in self.sandbox.arrivals()
        )

    def differences(self, *, newest: date) -> list[str]:
        """What is wrong with the series up to that day: values, and days that are not settled."""
        first = (self.began - timedelta(days=self.settings.history_days)).date()
        since = datetime(first.year, first.month, first.day, tzinfo=UTC)
        until = datetime(newest.year, newest.month, newest.day, tzinfo=UTC) + DAY
        truth = self._truth()
        with psycopg.connect(self.settings.database_url) as connection:
            compared = [compare(connection, truth, asset, since, until) for asset in self.assets]
            open_days = connection.execute(_OPEN.encode(), (first, newest)).fetchall()
        return [
            *(str(one) for one in compared if not one.equal),
            *(f"{symbol} {day} is {status}" for symbol, day, status in open_days),
            *self.false_finals,
        ]

    def worst_window(self) -> int:
        """The most calls in any minute of the moved clock."""
        return worst_window((arrival.wall_s for arrival in self.sandbox.arrivals()), 60.0)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with psycopg.connect(self.settings.database_url, autocommit=True) as connection:
            return connection.execute(query.encode()).fetchall()
