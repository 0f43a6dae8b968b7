"""A whole running site for the browser: servers, sandbox, web, worker and scheduler."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests

from db.connection import connect
from db.migrate import migrate
from db.symbols import SymbolRepository
from local.sandbox import SandboxServer
from local.servers.postgres import PostgresServer
from local.servers.server import free_port
from local.servers.valkey import ValkeyServer
from queueing import Death, Priority
from runtime.context import Context
from settings import Settings
from settings.catalogue import read_assets
from tests.kit.waiting import eventually
from tests.kit.worker import Running, process_env, settings_for
from worker.ticks import Ticks
from worker.work import price_request

PASSWORD, READER_PASSWORD = "of-the-admin", "of-the-reader"
DEAD = "XPTUSD"
"""An asset that was given up before the site began."""


@dataclass
class RunningSite:
    """Everything a host runs, each part of which a test may stop and start again."""

    root: Path
    tmp: Path
    settings: Settings
    context: Context
    valkey: ValkeyServer
    postgres: PostgresServer
    sandbox: SandboxServer
    port: int = field(default_factory=free_port)
    _running: dict[str, Running] = field(default_factory=dict)

    @property
    def url(self) -> str:
        """Where the pages are, with a slash at the end."""
        return f"http://127.0.0.1:{self.port}/"

    def start(self, kind: str) -> None:
        """Start a process type of the Procfile; the web process answers when this returns."""
        env = process_env(self.settings, self.tmp) | {
            "PORT": str(self.port),
            "WEB_PASSWORD": PASSWORD,
            "WEB_READER_PASSWORD": READER_PASSWORD,
            "BATCH_INTERVAL_MINUTES": str(self.settings.batch_interval_minutes),
            "RATE_MIN_SPACING_SECONDS": str(self.settings.rate_min_spacing_seconds),
        }
        self._running[kind] = Running(self.root, kind, env, self.tmp / f"{kind}.log")
        if kind == "web":
            eventually(self._answers, 20, what="the web process answers")

    def stop(self, kind: str) -> None:
        """Let a process end in order."""
        assert self._running.pop(kind).terminate(28) == 0

    def go_on_with(
        self, meanwhile: Callable[[RunningSite], None] = lambda site: None, **settings: Any
    ) -> None:
        """Go on with other settings, as if no call had been made before. `meanwhile` is called
        while no process runs."""
        for kind in list(self._running):
            self.stop(kind)
        self.settings = self.settings.model_copy(update=settings)
        self.context = Context.on(self.context.redis, self.settings)
        self.context.limiter.reset()
        meanwhile(self)
        for kind in ("web", "scheduler", "worker"):
            self.start(kind)

    def end(self) -> None:
        """End all processes, whatever they do."""
        for process in self._running.values():
            process.end()

    def log(self, kind: str) -> str:
        """What a process has logged so far."""
        return (self.tmp / f"{kind}.log").read_text(errors="replace")

    def get(self, path: str) -> requests.Response:
        """Ask the web process, as admin and without a browser."""
        with requests.Session() as session:
            session.trust_env = False
            return session.get(self.url + path, auth=("admin", PASSWORD), timeout=10)

    @contextmanager
    def stream(self) -> Iterator[bool]:
        """Hold a stream of events open."""
        with requests.Session() as session:
            session.trust_env = False
            auth = ("admin", PASSWORD)
            answer = session.get(f"{self.url}live", auth=auth, stream=True, timeout=10)
            with answer:
                assert answer.status_code == 200
                yield True

    def post(self, path: str, **fields: str) -> None:
        """Change something as admin, without a browser."""
        with requests.Session() as session:
            session.trust_env = False
            auth, url = ("admin", PASSWORD), self.url + path
            assert session.post(url, fields, auth=auth, allow_redirects=False).status_code == 303

    def ask_for(self, symbol: str) -> int:
        """Ask for a price at once; the time of the newest event before, in ms."""
        newest: Any = self.context.redis.xrevrange(self.context.keys.updates, count=1)
        with connect(self.settings.database_url) as connection:
            asset = SymbolRepository(connection).get_many([symbol])[symbol]
        self.context.queue.enqueue([price_request(asset)], Priority.CRITICAL, revive=True)
        ticks = Ticks(self.context.redis, self.context.keys)
        ticks.ensure_drain()
        ticks.close()
        return int(newest[0][0].partition("-")[0]) if newest else 0

    def give_up(self, symbol: str) -> None:
        """Leave a dead letter, whatever the workers are about."""
        keys, redis = self.context.keys, self.context.redis
        died_at_ms = self.context.redis_now_ms()
        letter = {
            "kind": Death.INVALID,
            "reason": "404: the provider does not know this ticker",
            "died_at_ms": died_at_ms,
            "attempts": 1,
            "crashes": 0,
            "priority": int(Priority.LOW),
            "payload": json.dumps({"symbol": symbol, "ticker": f"C:{symbol}"}),
        }
        redis.hset(keys.dead_items, symbol, json.dumps(letter))
        redis.zadd(keys.dead, {symbol: died_at_ms})

    def event_of(self, symbol: str, after_ms: int) -> tuple[int, dict[str, Any]]:
        """Wait for the next event of an asset: when it was published (ms), and what it says."""

        def look() -> tuple[int, dict[str, Any]] | None:
            rows: Any = self.context.redis.xrange(self.context.keys.updates, f"({after_ms}")
            for id_, fields in rows:
                event = json.loads(fields["event"])
                if event["symbol"] == symbol:
                    return int(id_.partition("-")[0]), event
            return None

        return eventually(look, 30, every_s=0.005, what=f"an event of {symbol}")

    def _answers(self) -> bool:
        try:
            return self.get("healthz").ok
        except requests.ConnectionError:
            return False


@contextmanager
def running_site(
    root: Path,
    tmp: Path,
    *,
    limit: int,
    window_s: float = 60,
    spacing_s: float = 0,
    history_days: int = 1,
) -> Iterator[RunningSite]:
    """Start everything, with the assets of the catalogue."""
    with ExitStack() as stack:
        valkey, postgres = ValkeyServer(tmp / "valkey"), PostgresServer(tmp / "pg", durable=False)
        for server in (valkey, postgres):
            server.start()
            stack.callback(server.stop)
        migrate(postgres.ensure_database())
        sandbox = stack.enter_context(SandboxServer(plan="spec", limit=0))
        settings = settings_for(
            valkey.url,
            postgres.url(),
            sandbox.url,
            polygon_tier="free",
            polygon_rate_limit=limit,
            rate_window_seconds=window_s,
            rate_min_spacing_seconds=spacing_s,
            history_days=history_days,
        )
        with connect(settings.database_url) as connection:
            SymbolRepository(connection).upsert_many(read_assets())
        context = stack.enter_context(Context.open(settings))
        site = RunningSite(root, tmp, settings, context, valkey, postgres, sandbox)
        site.give_up(DEAD)
        stack.callback(site.end)
        for kind in ("web", "scheduler", "worker"):
            site.start(kind)
        yield site
