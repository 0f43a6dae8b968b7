"""Outages as one drain meets them: a provider that fails, a lost PostgreSQL, an answer in hand."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
import redis

from db.connection import connect
from db.errors import DatabaseUnavailable
from health.observe import Observer
from health.report import report
from local.sandbox import SandboxServer
from local.servers.postgres import PostgresServer
from local.servers.valkey import ValkeyServer
from market.errors import BadAnswer, NotFound, ProviderDown, RateLimited, SendDeadlinePassed
from runtime import failpoints
from runtime.context import SOCKET_TIMEOUT_S
from runtime.failpoints import Point
from runtime.stopping import StopFlag
from tests.kit import worker as worker_kit
from tests.kit.waiting import eventually
from tests.kit.worker import Gate, Site, settings_for
from worker import ending, store
from worker.drain import Drain
from worker.refresh import Refresher
from worker.retry_policy import provider_failed


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def provider(gate: Gate) -> Iterator[SandboxServer]:
    with worker_kit.sandbox("starter", on_request=gate) as server:
        yield server


@pytest.fixture
def site(redis_url: str, migrated_url: str, provider: SandboxServer) -> Iterator[Site]:
    given = settings_for(redis_url, migrated_url, provider.url, request_timeout_seconds=5)
    with Site.open(given) as opened:
        yield opened


def drained(site: Site, *, patience_s: float | None = None) -> None:
    """One drain as a tick runs it, which may open PostgreSQL again."""
    url = site.context.settings.database_url
    refresher = Refresher(
        site.context,
        site.client,
        connect(url, patience_s=patience_s),
        site.capabilities,
        reconnect=lambda: connect(url, patience_s=patience_s),
        stop=StopFlag(),
    )
    name, stop = "d", StopFlag()
    first = refresher.store.connection
    try:
        Drain(
            site.context,
            site.ticks,
            refresher,
            site.capabilities,
            name=name,
            stop=stop,
            slice_s=1,
        ).run()
    finally:
        refresher.store.close()
        first.close()


# --- the provider


def test_a_dead_provider_is_left_alone_until_a_probe_finds_it(
    site: Site, provider: SandboxServer
) -> None:
    site.capabilities.refuse("snapshot_v3", "one asset per call, please")
    symbols = ["GBPUSD", "USDJPY", "ETHUSDT", "SOLUSD", "XAUUSD", "EURUSD", "BTCUSD"]
    site.ask(*symbols)
    provider.configure({"kind": "server_error", "status": 503})

    def five_have_failed() -> bool:
        drained(site)  # for a second, in which a busy machine may not get through all of them
        return len(provider.arrivals()) >= 5

    eventually(five_have_failed)
    assert len(provider.arrivals()) == 5
    breaker = site.context.limiter.status().breaker
    assert breaker.open
    assert "503" in (breaker.reason or "")
    _, _, body = report(Observer(site.context.settings))
    assert body["status"] != "healthy"
    assert any("The provider fails" in reason for reason in body["reasons"])
    assert body["quota"]["next_probe"]
    assert site.context.queue.stats().hint.reason in ("breaker", "delayed")

    def probe() -> None:
        site.context.redis.hset(site.context.keys.quota, "open_until", site.context.redis_now_ms())
        drained(site)

    probe()
    assert len(provider.arrivals()) == 6
    assert [site.item(s).attempts for s in symbols] == [1, 1, 1, 1, 0, 1, 0], "and the probe's"
    provider.configure()
    probe()
    assert not site.context.limiter.status().breaker.open
    assert set(site.events()) == {"XAUUSD", "BTCUSD"}, "the others wait for their next attempt"


def test_what_counts_as_a_failure_of_the_provider() -> None:
    assert provider_failed(ProviderDown(), 10) is True
    assert provider_failed(BadAnswer(status=200), 10) is True
    assert provider_failed(NotFound(status=404), 10) is False
    assert provider_failed(RateLimited(status=429), 10) is False
    assert provider_failed(SendDeadlinePassed(), 4_000) is True, "could not be reached"
    assert provider_failed(SendDeadlinePassed(), 0) is None, "we were late ourselves"


# --- PostgreSQL


def test_an_answer_in_hand_waits_for_postgresql(
    site: Site,
    provider: SandboxServer,
    gate: Gate,
    pg_server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store, "KEEP_S", 60.0)  # however long its start takes here
    gate.close()
    site.ask("EURUSD")

    # The drain in the thread: a server dies with the thread that started it.
    with ThreadPoolExecutor() as pool:
        running = pool.submit(drained, site)
        eventually(provider.arrivals)
        pg_server.stop()
        gate.open()
        threading.Event().wait(1.0)  # away while the answer comes
        pg_server.start()
        running.result(60)
    assert len(provider.arrivals()) == 1
    assert site.events() == ["EURUSD"]
    assert site.where("EURUSD") == "nowhere"
    with connect(site.context.settings.database_url) as other:
        row = other.execute(b"SELECT count(*) FROM data_sources.api_calls").fetchone()
    assert row == (1,)


def test_an_answer_is_not_kept_for_ever(
    site: Site,
    provider: SandboxServer,
    gate: Gate,
    pg_server: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(store, "KEEP_S", 1.0)
    gate.close()
    site.ask("EURUSD")

    def kill_while_it_answers() -> None:
        eventually(provider.arrivals)
        pg_server.kill()
        gate.open()

    killer = threading.Thread(target=kill_while_it_answers)
    killer.start()
    with pytest.raises(DatabaseUnavailable):
        drained(site)
    killer.join()
    assert site.where("EURUSD") == "delayed"
    assert site.item("EURUSD").attempts == 0
    assert not site.context.limiter.status().breaker.failures, "the provider did answer"


def test_a_frozen_postgresql_does_not_hold_a_drain(site: Site, r: redis.Redis) -> None:
    with ExitStack() as stack:
        connection = stack.enter_context(
            connect(site.context.settings.database_url, patience_s=0.5)
        )
        os.kill(connection.info.backend_pid, signal.SIGSTOP)
        stack.callback(os.kill, connection.info.backend_pid, signal.SIGCONT)
        refresher = Refresher(site.context, site.client, connection, site.capabilities)
        site.ask("EURUSD")
        with pytest.raises(DatabaseUnavailable):
            refresher.refresh(site.claim())
        assert connection.closed
    assert site.where("EURUSD") == "delayed"


# --- Redis


def test_an_outage_of_15_s_while_a_call_ends_counts_as_no_crash(
    site: Site,
    provider: SandboxServer,
    valkey_server: ValkeyServer,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server is really away; the seconds between the tries pass in no time."""

    class Seconds(StopFlag):
        passed = 0.0

        def sleep(self, seconds: float) -> bool:
            self.passed += seconds
            if self.passed >= 15:
                valkey_server.start()
            return False

    stop = Seconds()

    class Clock:
        @staticmethod
        def monotonic() -> float:
            return stop.passed

    def reached(point: Point) -> None:
        if point is Point.END_BEFORE:
            valkey_server.kill()

    monkeypatch.setattr(ending, "time", Clock)
    site.ask("EURUSD")
    call = site.claim()
    refresher = Refresher(site.context, site.client, site.connection, site.capabilities, stop=stop)
    monkeypatch.setattr(failpoints, "on_reached", reached)
    refresher.refresh(call)
    assert stop.passed >= 15
    assert site.events() == ["EURUSD"]
    assert site.where("EURUSD") == "nowhere"
    assert site.context.redis.hget(site.context.keys.counters, "reaped") is None


def test_a_wait_on_a_frozen_redis_ends_by_a_stop_and_by_its_time(
    site: Site, valkey_server: ValkeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that is longer than the socket's time-out, which is for ordinary commands."""
    queue, stop = site.context.queue, StopFlag()
    monkeypatch.setattr("queueing.waiting.WAIT_SLACK_S", 0.5)
    with ThreadPoolExecutor() as pool:
        long = pool.submit(queue.wait, 3 * SOCKET_TIMEOUT_S, stop=stop.is_set)
        short = pool.submit(queue.wait, 1.0)

        def both_wait() -> bool:
            nonlocal short
            if short.done():  # on a busy machine, before the other one began
                short = pool.submit(queue.wait, 1.0)
            return bool(site.context.redis.info("clients")["blocked_clients"] == 2)

        eventually(both_wait)
        assert valkey_server.pid
        os.kill(valkey_server.pid, signal.SIGSTOP)
        try:
            with pytest.raises(redis.TimeoutError):
                short.result(30)
            stop.set()
            assert long.result(2 * SOCKET_TIMEOUT_S) is False
        finally:
            os.kill(valkey_server.pid, signal.SIGCONT)


def test_a_stopped_wait_takes_no_token_that_comes_later(site: Site) -> None:
    queue, stop = site.context.queue, StopFlag()
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(queue.wait, 30, stop=stop.is_set)
        eventually(lambda: site.context.redis.info("clients")["blocked_clients"] == 1)
        stop.set()
        assert waiting.result(20) is False
    eventually(lambda: site.context.redis.info("clients")["blocked_clients"] == 0)
    queue.wake()
    assert queue.wait(30) is True
