"""Scheduler and workers as the Procfile starts them, from nothing to rows, events and records."""

from __future__ import annotations

import json
import os
import signal
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis

from local.sandbox import SandboxServer, worst_window
from settings import Settings
from tests.kit import worker as worker_kit
from tests.kit.waiting import eventually
from tests.kit.worker import (
    CRITICAL,
    OTHERS,
    Running,
    Site,
    assert_no_key_stays,
    process_env,
    settings_for,
    traded_yesterday,
)

WINDOW_S = 4.0
ALL = [a.symbol for a in (*CRITICAL, *OTHERS)]
KEY_MARK, REDIS_MARK = "MarkApiKey81", "MarkRedisPw82"
START = Callable[[str], Running]


@dataclass
class Subscriber:
    """Hears all events, as a consumer of the platform would."""

    client: redis.Redis
    heard: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._pubsub = self.client.pubsub(ignore_subscribe_messages=True)
        self._pubsub.psubscribe("asset:update:*")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        while not self._stop.is_set():
            if message := self._pubsub.get_message(timeout=0.1):
                self.heard.append((message["channel"], message["data"]))

    def close(self) -> None:
        self._stop.set()
        self._thread.join(5)
        self._pubsub.close()


@pytest.fixture
def provider() -> Iterator[SandboxServer]:
    """The user's document taken at its word, in a shorter minute."""
    with worker_kit.sandbox("spec", limit=5, window_s=WINDOW_S, key=KEY_MARK) as server:
        yield server


@pytest.fixture
def settings(redis_url: str, migrated_url: str, provider: SandboxServer) -> Settings:
    """With secrets that can be recognised wherever they turn up; Redis accepts any password."""
    return settings_for(
        redis_url.replace("://", f"://default:{REDIS_MARK}@"),
        migrated_url,
        provider.url,
        massive_api_key=KEY_MARK,
        polygon_tier="free",
        rate_window_seconds=WINDOW_S,
        request_timeout_seconds=5,
    )


@pytest.fixture
def site(settings: Settings) -> Iterator[Site]:
    with Site.open(settings) as opened:
        yield opened


@pytest.fixture
def start(site: Site, project_root: Path, tmp_path: Path) -> Iterator[START]:
    with ExitStack() as stack:

        def run(name: str) -> Running:
            env = process_env(site.context.settings, tmp_path, PYTHONUNBUFFERED="1")
            log = tmp_path / f"{name}{len(list(tmp_path.glob('*.log')))}.log"
            one = Running(project_root, name, env, log)
            stack.callback(one.end)
            return one

        yield run


def price_calls(site: Site) -> list[str]:
    """Tickers of the granted single calls, in the order of their grants."""
    query = b"""SELECT tickers[1] FROM data_sources.api_calls WHERE feed = 'snapshot'
                ORDER BY started_at"""
    return [row[0] for row in site.connection.execute(query)]


def everything_in(r: redis.Redis) -> Iterator[tuple[str, str]]:
    """Key → each of its values as text, jobs unpacked."""
    for raw in r.scan_iter("*"):
        key = raw.decode(errors="replace")
        match r.type(raw):
            case b"string":
                values: Any = [r.get(raw)]
            case b"list":
                values = r.lrange(raw, 0, -1)
            case b"set":
                values = r.smembers(raw)
            case b"zset":
                values = r.zrange(raw, 0, -1)
            case b"hash":
                values = [part for pair in r.hgetall(raw).items() for part in pair]
            case b"stream":
                values = [str(entry).encode() for entry in r.xrange(raw)]  # type: ignore[union-attr]
            case other:
                raise AssertionError(f"{key}: {other!r}")
        for value in values:
            if value[:1] == b"\x78":
                value = zlib.decompress(value)
            yield key, value.decode(errors="replace")


def test_from_nothing_to_rows_events_and_records(
    site: Site, start: START, provider: SandboxServer, settings: Settings, redis_url: str
) -> None:
    r = site.context.redis
    subscriber = Subscriber(site.context.redis)
    processes = [start("scheduler"), start("worker")]
    eventually(lambda: site.context.queue.batches(1), what="a first batch at once")
    processes.append(start("worker"))
    eventually(lambda: set(site.events()) >= set(ALL[:3]), what="the critical three")
    eventually(lambda: set(site.events()) == set(ALL), 60, what="all the others")
    eventually(lambda: site.context.queue.size == 0, what="their bars too")

    # In the order of priority, as calls became free; the critical ones in their own order.
    tickers = {a.polygon_ticker: a for a in (*CRITICAL, *OTHERS)}
    first_calls = list(dict.fromkeys(price_calls(site)))
    assert first_calls[:3] == [a.polygon_ticker for a in CRITICAL]
    bands = [tickers[ticker].priority for ticker in first_calls]
    assert bands == sorted(bands)

    # Never more than the provider allows, by the provider's own count.
    arrivals = provider.arrivals()
    assert worst_window([a.mono_s for a in arrivals], WINDOW_S) <= 5
    assert {a.status for a in arrivals} <= {200, 403}
    assert sum(a.path.startswith("/v3/") for a in arrivals) <= 2, "the refusal is remembered"

    # PostgreSQL holds it all.
    for symbol in ALL:
        assert site.status(symbol) == ("success", None)
        update = site.one(
            "SELECT metadata->'last_update' FROM trading.symbols WHERE symbol = %s", symbol
        )
        assert update["last_price"] > 0
        assert set(update) >= {"bid", "ask", "daily_open", "timestamp", "as_of", "source", "delay"}
    with_bars = site.one("SELECT count(DISTINCT symbol_id) FROM market_data.ohlcv_5m")
    assert with_bars == len(traded_yesterday((*CRITICAL, *OTHERS)))
    assert site.one("SELECT count(*) FROM data_sources.api_calls") == len(arrivals)

    # A subscriber hears JSON, the same as in the stream.
    channels = {f"asset:update:{symbol}" for symbol in ALL}
    eventually(lambda: {channel for channel, _ in subscriber.heard} == channels)
    for channel, text in subscriber.heard:
        event = json.loads(text)
        assert channel == f"asset:update:{event['symbol']}"
        assert isinstance(event["last_price"], float)
        assert datetime.fromisoformat(event["timestamp"]) <= datetime.now(UTC)
    stream: Any = r.xrange(site.context.keys.updates)
    assert sorted(f["event"] for _, f in stream) == sorted(text for _, text in subscriber.heard)

    # The batch's record tells what became of it.
    record = site.context.queue.batches(10)[-1]  # a slot may have begun a second one
    assert record.updated == ALL[:3]
    assert record.failed == []
    assert record.finished_at_ms is not None

    # Everything ends in order, at once, with 0.
    for process in reversed(processes):
        process.process.send_signal(signal.SIGTERM)
    assert [process.process.wait(25) for process in processes] == [0, 0, 0]
    subscriber.close()

    # Nothing grows for ever, and no secret is anywhere.
    assert_no_key_stays(r, settings)
    with redis.Redis.from_url(redis_url) as plain:
        password = urlsplit(settings.database_url).password
        assert password
        assert len(password) >= 8
        marks = (KEY_MARK, REDIS_MARK, password)
        seen = list(everything_in(plain))
        assert any(site.context.keys.updates == key for key, _ in seen)
        for key, value in seen:
            assert not any(mark in value or mark in key for mark in marks), f"a secret in {key}"
        for key in plain.scan_iter("rq:job:*"):
            assert plain.ttl(key) > 0 or key.startswith(b"rq:job:every-"), key
    for process in processes:
        assert not any(mark in process.output for mark in marks)
        assert "Traceback" not in process.output


def test_a_work_horse_killed_in_a_call_loses_nothing(
    site: Site, start: START, provider: SandboxServer
) -> None:
    """Its items come back when the lease ends, and are refreshed; the dedup does not stick."""
    provider.configure({"kind": "hang", "tickers": ["C:EURUSD"], "count": 1, "path": "/v2/"})
    start("scheduler")
    worker = start("worker")

    def in_the_call() -> bool:
        return any(a.tickers == ("C:EURUSD",) and "/v2/" in a.path for a in provider.arrivals())

    eventually(in_the_call)
    assert site.where("EURUSD") == "leases"
    for horse in worker.horses():
        os.kill(horse, signal.SIGKILL)
    eventually(lambda: site.where("EURUSD") == "nowhere", what="taken up after its lease")
    eventually(lambda: set(site.events()) == set(ALL), what="all of them, the torn one too")
    assert price_calls(site).count("C:EURUSD") == 1, "the torn call left no audit row"
    assert worker.process.poll() is None
    assert site.status("EURUSD") == ("success", None)
    assert site.context.queue.dead() == []
    eventually(
        lambda: all(record.finished_at_ms for record in site.context.queue.batches(10)),
        what="the end of every batch, one that has just begun as well",
    )
    records = site.context.queue.batches(10)
    # A slot may fall into the 20 s of the lease: then the second batch owns the torn one.
    assert {symbol for record in records for symbol in record.updated} == set(ALL[:3])
    assert worst_window([a.mono_s for a in provider.arrivals()], WINDOW_S) <= 5
