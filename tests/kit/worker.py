"""What the tests of worker/ and scheduler/ share: a site with real servers, and looks at it."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Self

import redis

from db.connection import Connection, connect
from db.symbols import Asset, SymbolRepository
from local.sandbox import SandboxServer
from local.servers.process import dying_with_us
from local.servers.programs import read_procfile
from market.client import MarketClient
from market.hours import trades_on
from market.tickers import asset_kind
from market.transport import SendDeadline
from queueing import Claimed, Hint, Item, Priority
from runtime.context import Context
from runtime.stopping import StopFlag
from settings import Settings
from tests.kit.up_runs import clean_env
from tests.kit.waiting import eventually
from worker.call import Call
from worker.capabilities import Capabilities
from worker.drain import Drain
from worker.refresh import Refresher
from worker.ticks import Ticks
from worker.work import price_request

KEY = "key-that-must-not-leak-7f3a"
CRITICAL = (
    Asset("XAUUSD", "C:XAUUSD", "forex", "Gold Spot", 1, 300),
    Asset("EURUSD", "C:EURUSD", "forex", "Euro/US Dollar", 1, 300),
    Asset("BTCUSD", "X:BTCUSD", "crypto", "Bitcoin/US Dollar", 1, 300),
)
OTHERS = (
    Asset("GBPUSD", "C:GBPUSD", "forex", None, 2, 1800),
    Asset("USDJPY", "C:USDJPY", "forex", None, 2, 1800),
    Asset("ETHUSDT", "X:ETHUSDT", "crypto", None, 3, 1800),
    Asset("SOLUSD", "X:SOLUSD", "crypto", None, 4, 1800),
)


def traded_yesterday(assets: Sequence[Asset]) -> list[Asset]:
    """Those that have bars of the last whole day: no forex on Sundays."""
    day = datetime.now(UTC).date() - timedelta(days=1)
    return [asset for asset in assets if trades_on(asset_kind(asset.polygon_ticker), day)]


class ShiftedContext(Context):
    """Thinks that it is later (or earlier) than Redis does, where it asks for the time itself."""

    def shift(self, ms: int) -> None:
        object.__setattr__(self, "_shift_ms", self.__dict__.get("_shift_ms", 0) + ms)

    def stand_still(self) -> None:
        """From now on time passes by shifts alone."""
        object.__setattr__(self, "_stands_ms", super().redis_now_ms())

    def redis_now_ms(self) -> int:
        now_ms = self.__dict__.get("_stands_ms") or super().redis_now_ms()
        return int(now_ms) + int(self.__dict__.get("_shift_ms", 0))


def settings_for(redis_url: str, database_url: str, base_url: str, **more: Any) -> Settings:
    """Without a limit, unless told otherwise. Names are the environment's, in lower case."""
    given = {
        "MASSIVE_API_KEY": KEY,
        "REDIS_URL": redis_url,
        "DATABASE_URL": database_url,
        "POLYGON_BASE_URL": base_url,
        "POLYGON_TIER": "starter",
        "HISTORY_DAYS": "1",
        **{name.upper(): str(value) for name, value in more.items()},
    }
    return Settings.load(given, env_file=None)


@dataclass
class Site:
    """Redis, PostgreSQL and the provider as one worker sees them."""

    context: ShiftedContext
    connection: Connection
    ticks: Ticks
    client: MarketClient

    @classmethod
    @contextmanager
    def open(
        cls, settings: Settings, assets: Sequence[Asset] = (*CRITICAL, *OTHERS)
    ) -> Iterator[Self]:
        with (
            ShiftedContext.open(settings) as context,
            connect(settings.database_url) as connection,
            MarketClient(
                settings.base_url,
                settings.required_api_key(),
                timeout_s=settings.request_timeout_seconds,
            ) as client,
        ):
            SymbolRepository(connection).upsert_many(assets)
            ticks = Ticks(context.redis, context.keys)
            try:
                yield cls(context, connection, ticks, client)
            finally:
                ticks.close()

    @cached_property
    def capabilities(self) -> Capabilities:
        return Capabilities(self.context)

    @property
    def refresher(self) -> Refresher:
        return Refresher(self.context, self.client, self.connection, self.capabilities)

    def asset(self, symbol: str) -> Any:
        return SymbolRepository(self.connection).get_many([symbol])[symbol]

    def ask(self, *symbols: str, at: int = Priority.MEDIUM) -> None:
        """Enqueues the prices of tracked assets."""
        self.context.queue.enqueue([price_request(self.asset(s)) for s in symbols], at)

    def claim(self, max_items: int | None = None) -> Call:
        """What a drain would do with the next call."""
        feed = self.capabilities.price_feed()
        most = max_items or feed.max_tickers
        while True:
            deadline = SendDeadline.after(self.context.queue.policy.send_within_ms / 1000)
            claimed = self.context.queue.claim(who="test", max_items=most)
            if isinstance(claimed, Claimed):
                return Call(claimed, feed, self.capabilities.feed_for, deadline, "test", 1000)
            assert claimed.held_by == "spacing", claimed
            time.sleep((claimed.hint.wait_ms or 0) / 1000)

    def refresh(self, *symbols: str, at: int = Priority.MEDIUM) -> Hint:
        """Asks for these and makes the one call that is then due."""
        self.ask(*symbols, at=at)
        return self.refresher.refresh(self.claim()).hint

    def drain(
        self,
        *,
        stop: StopFlag | None = None,
        slice_s: float = 5.0,
        name: str = "d",
        reconnecting: bool = False,
    ) -> Drain:
        """`reconnecting`: opens PostgreSQL anew where its session is lost, as a worker does."""
        reconnect = partial(connect, self.context.settings.database_url) if reconnecting else None
        refresher = Refresher(
            self.context, self.client, self.connection, self.capabilities, reconnect=reconnect
        )
        return Drain(
            self.context,
            self.ticks,
            refresher,
            self.capabilities,
            name=name,
            stop=stop or StopFlag(),
            slice_s=slice_s,
        )

    def item(self, symbol: str) -> Item:
        """A pending item, wherever it waits."""
        raw = self.context.redis.hget(self.context.keys.items, symbol)
        assert raw is not None, f"{symbol} has no item"
        place = self.context.redis.zscore(self.context.keys.queue, symbol)
        known = {"symbol": symbol, "score": "" if place is None else f"{place:.17g}"}
        return Item.from_reply(known | json.loads(raw))

    def where(self, symbol: str) -> str:
        """queue, delayed, leases, dead or nowhere; pending in exactly the first three."""
        keys, r = self.context.keys, self.context.redis
        places = {"queue": keys.queue, "delayed": keys.delayed, "leases": keys.leases}
        found = [name for name, key in places.items() if r.zscore(key, symbol) is not None]
        assert len(found) <= 1, f"{symbol} is in {found}"
        assert bool(found) == bool(r.sismember(keys.pending, symbol)), f"dedup of {symbol}"
        if found:
            return found[0]
        return "dead" if r.zscore(keys.dead, symbol) is not None else "nowhere"

    def delay_ms(self, symbol: str) -> float:
        at = self.context.redis.zscore(self.context.keys.delayed, symbol)
        assert at is not None, f"{symbol} is not delayed"
        return float(at) - self.context.redis_now_ms()

    def one(self, query: str, *parameters: Any) -> Any:
        row = self.connection.execute(query.encode(), parameters).fetchone()
        return row[0] if row else None

    def status(self, symbol: str) -> tuple[str, str | None] | None:
        row = self.connection.execute(
            b"""SELECT s.sync_status, s.error FROM data_sources.data_sync_status s
                JOIN trading.symbols t ON t.id = s.ticker_id WHERE t.symbol = %s""",
            (symbol,),
        ).fetchone()
        return (row[0], row[1]) if row else None

    def outcomes(self) -> list[str]:
        """The audited calls' outcomes, oldest first."""
        query = b"SELECT outcome FROM data_sources.api_calls ORDER BY started_at, call_id"
        return [row[0] for row in self.connection.execute(query)]

    def events(self) -> list[str]:
        """Symbols of the events in the stream."""
        entries: Any = self.context.redis.xrange(self.context.keys.updates)
        return [json.loads(fields["event"])["symbol"] for _, fields in entries]


def assert_no_key_stays(r: redis.Redis, settings: Settings) -> None:
    """Every key of ours is permanent by intent, the schedule's, or has a TTL."""
    from queueing import Keys

    keys = Keys(settings.provider)
    for key in r.scan_iter("assetq:*"):
        assert key in keys.permanent or r.pttl(key) > 0, f"{key} would stay for ever"


def procfile(root: Path, name: str) -> list[str]:
    """The command of one process type, as the Procfile has it."""
    return shlex.split(read_procfile(root / "Procfile")[name])


def process_env(settings: Settings, tmp: Path, **more: str) -> dict[str, str]:
    """The environment that leads a process to the same servers."""
    assert settings.api_key is not None
    bin_dir = str(Path(sys.executable).parent)
    return {
        **clean_env(tmp),
        "PATH": f"{bin_dir}{os.pathsep}{os.environ.get('PATH', '')}",
        "MASSIVE_API_KEY": settings.api_key.get_secret_value(),
        "POLYGON_BASE_URL": settings.base_url,
        "POLYGON_TIER": settings.polygon_tier.value,
        "HISTORY_DAYS": str(settings.history_days),
        "REDIS_URL": settings.redis_url,
        "DATABASE_URL": settings.database_url,
        "RATE_WINDOW_SECONDS": str(settings.rate_window_seconds),
        "REQUEST_TIMEOUT_SECONDS": str(settings.request_timeout_seconds),
        **({"POLYGON_RATE_LIMIT": str(n)} if (n := settings.polygon_rate_limit) else {}),
        **more,
    }


class Running:
    """A process from the Procfile; its output goes to a file."""

    def __init__(
        self, root: Path, name: str, env: Mapping[str, str], log: Path, extra: Sequence[str] = ()
    ) -> None:
        self.log, self.env = log, dict(env)
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                [*procfile(root, name), *extra],
                cwd=root,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=dying_with_us(),
            )

    @property
    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def until(self, text: str, timeout_s: float = 60.0) -> None:
        def seen() -> bool:
            if text not in self.output and self.process.poll() is not None:
                raise RuntimeError(f"ended with {self.process.returncode}:\n{self.output}")
            return text in self.output

        eventually(seen, timeout_s, what=f"{text!r} in the log")

    def terminate(self, within_s: float) -> int:
        """SIGTERM to the process alone, as honcho sends it; its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(within_s)

    def end(self) -> None:
        """Nothing of it stays, work-horses (in groups of their own) included."""
        for pid in self.horses():
            _kill(pid)
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def horses(self) -> list[int]:
        path = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        try:
            return [int(pid) for pid in path.read_text().split()]
        except OSError:
            return []


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


class Gate:
    """Holds a provider's answers back while it is closed: its `on_request`."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self.open()

    def open(self) -> None:
        self._open.set()

    def close(self) -> None:
        self._open.clear()

    def __call__(self, *_: object) -> None:
        self._open.wait(60)


@contextmanager
def sandbox(plan: str = "starter", **options: Any) -> Iterator[SandboxServer]:
    """A provider without a limit, with made-up prices."""
    given = {"limit": 0, **options}
    with SandboxServer(plan=plan, **given) as server:
        yield server
