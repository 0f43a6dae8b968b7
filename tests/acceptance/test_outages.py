"""Servers that go away under the processes of the Procfile: they wait, resume, and end in time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq.registry import FailedJobRegistry
from rq.serializers import JSONSerializer
from rq.suspension import resume, suspend

from db.connection import connect
from local.sandbox import SandboxServer
from local.servers.postgres import PostgresServer
from local.servers.valkey import ValkeyServer
from runtime import heartbeat
from tests.kit import worker as worker_kit
from tests.kit.ports import own_port
from tests.kit.waiting import eventually
from tests.kit.worker import CRITICAL, OTHERS, Gate, Running, Site, process_env, settings_for
from worker.ticks import DRAIN
from worker.work import price_request

BUDGET_S = 25.0
"""What a host leaves a process between SIGTERM and SIGKILL, and a little less."""
SYMBOLS = [asset.symbol for asset in (*CRITICAL, *OTHERS)]
START = Callable[..., Running]
long = pytest.mark.skipif("OUTAGES" not in os.environ, reason="run by make outages")


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def provider(gate: Gate) -> Iterator[SandboxServer]:
    with worker_kit.sandbox("starter", on_request=gate) as server:
        yield server


@pytest.fixture
def site(redis_url: str, migrated_url: str, provider: SandboxServer) -> Iterator[Site]:
    settings = settings_for(redis_url, migrated_url, provider.url, request_timeout_seconds=3)
    with Site.open(settings) as opened:
        yield opened


@pytest.fixture
def start(site: Site, project_root: Path, tmp_path: Path) -> Iterator[START]:
    with ExitStack() as stack:
        count = 0

        def run(name: str = "worker", **more: str) -> Running:
            nonlocal count
            count += 1
            env = process_env(site.context.settings, tmp_path, PYTHONUNBUFFERED="1", **more)
            one = Running(project_root, name, env, tmp_path / f"{name}{count}.log")
            stack.callback(one.end)
            return one

        yield run


def in_the_books(site: Site, role: str, count: int = 1) -> None:
    """That number of processes of this kind sent a heartbeat lately."""

    def seen() -> bool:
        found = heartbeat.processes(site.context.redis, site.context.keys)
        return sum(p.role == role and p.age_ms < 15_000 for p in found) >= count

    eventually(seen, what=f"{count} {role}")


def up(site: Site, *running: Running) -> None:
    """All have begun: a signal that comes before a process knows what to do with it kills it."""
    for one in running:
        if one.log.stem.startswith("web"):
            one.until("Listening at")
    in_the_books(site, "worker", 2)
    in_the_books(site, "scheduler")


def noticed(running: Running) -> bool:
    """Redis is away: refused, or closed in the middle of a command, which is told once."""
    return any(word in running.output for word in ("refused", "redis.away", "could not connect"))


def end_all(*running: Running) -> float:
    """SIGTERM to every process at once, work-horses included, as Heroku sends it."""
    began = time.monotonic()
    for one in running:
        for pid in (*one.horses(), one.process.pid):
            with suppress(ProcessLookupError):  # a work-horse that has ended just now
                os.kill(pid, signal.SIGTERM)
    codes = {one.log.stem: one.process.wait(BUDGET_S + 15) for one in running}
    took_s = time.monotonic() - began
    assert set(codes.values()) == {0}, codes
    assert took_s < BUDGET_S
    return took_s


def quiet(*running: Running) -> None:
    for one in running:
        assert "Traceback" not in one.output, one.output[-3000:]


def failed_ticks(url: str) -> list[str]:
    with redis.Redis.from_url(url) as raw:
        registry = FailedJobRegistry("assetq-massive", connection=raw, serializer=JSONSerializer)
        return list(registry.get_job_ids())


def freeze(pid: int | None, stack: ExitStack) -> None:
    assert pid
    os.kill(pid, signal.SIGSTOP)
    stack.callback(os.kill, pid, signal.SIGCONT)


# --- a Redis that answers, and refuses


REFUSALS = {
    "memory": ({"maxmemory": "100kb"}, {"maxmemory": "0"}),
    "replicas": ({"min-replicas-to-write": "1"}, {"min-replicas-to-write": "0"}),
}


@pytest.mark.parametrize("kind", [*REFUSALS, "replica", "script"])
def test_a_redis_that_refuses_is_waited_for(
    site: Site, start: START, provider: SandboxServer, kind: str
) -> None:
    """By workers and scheduler at work, and by those that are started meanwhile."""
    r = site.context.redis
    all_ = [start(), start("scheduler")]
    in_the_books(site, "worker")
    in_the_books(site, "scheduler")
    eventually(lambda: set(site.events()) == set(SYMBOLS), what="all work done")
    with ExitStack() as stack:
        refuse(r, kind, stack)
        for one in all_[1:]:
            one.until("redis.away")
        all_ += [start(), start("scheduler")]
        for one in all_[2:]:
            one.until("redis.away")
        assert [one.process.poll() for one in all_] == [None] * 4, "none ended"
    before = site.events().count("EURUSD")  # a batch may have begun meanwhile
    site.ask("EURUSD", at=1)
    eventually(lambda: site.events().count("EURUSD") > before, what="resumed")
    in_the_books(site, "worker", 2)
    assert [one.process.poll() for one in all_] == [None] * 4, "none ended"
    for one in all_:
        assert one.output.count("redis.away") <= 12, "a line per cause, not per try"
    assert site.context.queue.dead() == []
    quiet(*all_)
    end_all(*all_)


def refuse(r: redis.Redis, kind: str, stack: ExitStack) -> None:
    """Until the stack is left."""
    if kind in REFUSALS:
        begin, end = REFUSALS[kind]
        for name, value in begin.items():
            r.config_set(name, value)
        stack.callback(lambda: [r.config_set(name, value) for name, value in end.items()])
    elif kind == "replica":
        r.replicaof("127.0.0.1", own_port())
        stack.callback(r.replicaof, "NO", "ONE")
    else:
        r.config_set("busy-reply-threshold", "100")
        url = r.connection_pool.connection_kwargs
        once = Retry(NoBackoff(), 0)  # a second try would run it again
        busy = redis.Redis(host=url["host"], port=url["port"], socket_timeout=None, retry=once)
        thread = threading.Thread(target=spin, args=(busy,), daemon=True)
        thread.start()
        stack.callback(thread.join, 20)
        stack.callback(r.script_kill)


def spin(r: redis.Redis) -> None:
    try:
        r.eval("while true do end", 0)
    except redis.ResponseError:  # killed, as it should be
        return


def test_another_password_ends_each_process_in_one_line(
    site: Site, start: START, provider: SandboxServer
) -> None:
    """One worker idle, one in a call, and one that starts: no waiting helps."""
    provider.configure({"kind": "hang"})
    all_ = [start(), start()]
    site.ask("EURUSD")
    site.ticks.ensure_drain()
    in_the_books(site, "worker", 2)
    eventually(provider.arrivals, what="a call under way")
    redis = site.context.redis
    redis.acl_setuser("default", enabled=True, passwords=["+new"])
    try:
        redis.client_kill_filter(_type="normal", skipme=True)
        all_.append(start())
        assert [one.process.wait(20) for one in all_] == [3] * 3
    finally:
        redis.acl_setuser("default", enabled=True, nopass=True)
    for one in all_:
        assert one.output.count("Redis refuses the login. Correct user and password") == 1
    quiet(*all_)


def test_a_suspended_rq_is_named_and_waited_for(
    site: Site, start: START, provider: SandboxServer
) -> None:
    with redis.Redis.from_url(site.context.settings.redis_url) as raw:
        suspend(raw)
        running = start()
        running.until("rq resume")
        site.ticks.ensure_drain()
        assert running.process.poll() is None
        resume(raw)
        in_the_books(site, "worker")
        suspend(raw)
        eventually(lambda: running.output.count("rq resume") >= 2, what="named again")
        resume(raw)
    site.ask("EURUSD")
    site.ticks.ensure_drain()
    eventually(lambda: "EURUSD" in site.events(), what="resumed")
    assert running.terminate(within_s=25) == 0


@pytest.mark.parametrize("trouble", ["suspended", "away"])
def test_what_happens_between_the_look_and_the_start_is_waited_for(
    site: Site, tmp_path: Path, project_root: Path, valkey_server: ValkeyServer, trouble: str
) -> None:
    """The configuration has seen a Redis in order; then RQ's command begins."""
    program = (
        "import sys, worker.rq_config; print('looked', flush=True); sys.stdin.readline();"
        "from rq.cli.cli import main; from cli.commands.processes import RQ_OPTIONS;"
        "main(['worker', *RQ_OPTIONS])"
    )
    env = process_env(site.context.settings, tmp_path, PYTHONUNBUFFERED="1")
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=project_root, env=env, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "looked\n"
        valkey_server.stop() if trouble == "away" else suspend(site.context.redis)
        process.stdin.write("\n")
        process.stdin.flush()
        told = iter(process.stdout.readline, "")
        assert any("redis.away" in line or "rq resume" in line for line in told)
        valkey_server.start() if trouble == "away" else resume(site.context.redis)
        in_the_books(site, "worker")
        process.terminate()
        assert process.wait(60) == 0


@pytest.mark.parametrize("name", ["RQ_REDIS_URL", "RQ_CONNECTION_CLASS", "RQ_QUEUE_CLASS"])
def test_variables_that_would_redirect_a_worker_are_ignored_and_named(
    site: Site, start: START, name: str
) -> None:
    running = start("worker", **{name: "redis://127.0.0.1:1/0"})
    running.until(name)
    in_the_books(site, "worker")
    assert running.terminate(within_s=25) == 0


# --- Redis


def test_a_redis_that_is_killed_and_comes_back_is_waited_for(
    site: Site, start: START, provider: SandboxServer, gate: Gate, valkey_server: ValkeyServer
) -> None:
    """With one worker idle, one in a call and the scheduler between two passes."""
    site.context.redis.config_set("appendfsync", "always")
    gate.close()
    all_ = [start(REQUEST_TIMEOUT_SECONDS="15"), start(REQUEST_TIMEOUT_SECONDS="15")]
    in_the_books(site, "worker", 2)
    all_.append(start("scheduler"))
    eventually(provider.arrivals, what="a call under way")
    in_the_books(site, "scheduler")
    valkey_server.kill()
    gate.open()
    for one in all_:
        eventually(partial(noticed, one), what="noticed")
    eventually(lambda: not any(one.horses() for one in all_[:2]))
    assert "tick.redis" in all_[0].output + all_[1].output
    valkey_server.start()
    site.context.redis.connection_pool.disconnect()
    site.context.limiter.reset()  # the hold of an unknown server, 8 s here, is another test's
    held = site.context.redis.zrange(site.context.keys.leases, 0, -1)
    assert held, "the call's items are leased still"
    site.context.redis.zadd(site.context.keys.leases, {str(symbol): 1 for symbol in held})
    eventually(lambda: set(site.events()) == set(SYMBOLS), what="resumed")
    assert [one.process.poll() for one in all_] == [None] * 3, "none ended"
    quiet(*all_)
    assert failed_ticks(site.context.settings.redis_url) == []
    end_all(*all_)


def test_a_frozen_redis_holds_up_no_process_that_is_to_end(
    site: Site, start: START, valkey_server: ValkeyServer
) -> None:
    """A worker idle, a drain that waits, a scheduler, and the web process."""
    site.ask("EURUSD")
    site.context.limiter.block(600_000, "by hand")
    all_ = [start(), start(), start("scheduler"), start("web", PORT=str(own_port()))]
    up(site, *all_)
    eventually(lambda: site.context.redis.exists(site.context.keys.waiter))
    with ExitStack() as stack:
        freeze(valkey_server.pid, stack)
        end_all(*all_)
    quiet(*all_)
    assert site.where("EURUSD") == "queue"


def test_a_start_without_redis_waits(site: Site, start: START, valkey_server: ValkeyServer) -> None:
    valkey_server.kill()
    one, other, scheduler = start(), start(), start("scheduler")
    for running in (one, other):
        running.until("redis.away")
    scheduler.until("redis.away")
    assert other.terminate(within_s=25) == 0
    valkey_server.start()
    site.context.redis.connection_pool.disconnect()
    in_the_books(site, "worker")
    in_the_books(site, "scheduler")
    quiet(one, other, scheduler)
    end_all(one, scheduler)


# --- SIGTERM to all at once


def test_sigterm_to_all_while_the_provider_hangs(
    site: Site, start: START, provider: SandboxServer
) -> None:
    provider.configure({"kind": "hang"})
    all_ = [start(), start(), start("scheduler"), start("web", PORT=str(own_port()))]
    eventually(provider.arrivals, what="a call under way")
    up(site, *all_)
    eventually(lambda: any(one.horses() for one in all_[:2]), what="still under way")
    end_all(*all_)
    quiet(*all_)
    assert {site.where(symbol) for symbol in SYMBOLS} <= {"queue", "delayed"}
    assert failed_ticks(site.context.settings.redis_url) == []


@long
def test_sigterm_to_all_while_postgresql_is_frozen(
    site: Site, start: START, provider: SandboxServer, pg_server: PostgresServer
) -> None:
    provider.configure({"kind": "delay", "min_s": 1.0, "max_s": 1.0})
    all_ = [start(), start(), start("scheduler"), start("web", PORT=str(own_port()))]
    up(site, *all_)
    eventually(provider.arrivals, what="a call under way")
    with ExitStack() as stack, connect(site.context.settings.database_url) as other:
        rows = other.execute(
            b"SELECT pid FROM pg_stat_activity WHERE application_name = 'assetq'"
        ).fetchall()
        for pid in (pg_server.pid, *(row[0] for row in rows)):  # the server and its backends
            freeze(pid, stack)
        end_all(*all_)
    quiet(*all_)
    for symbol in SYMBOLS:
        assert site.where(symbol) in ("queue", "delayed"), symbol
    assert failed_ticks(site.context.settings.redis_url) == []


# --- PostgreSQL


@long
def test_postgresql_away_makes_no_noise_and_no_calls(
    site: Site, start: START, provider: SandboxServer, pg_server: PostgresServer
) -> None:
    all_ = [start(), start("scheduler")]
    in_the_books(site, "worker")
    eventually(lambda: len(set(site.events())) == len(SYMBOLS))
    calls, known = len(provider.arrivals()), site.asset("EURUSD")
    pg_server.kill()
    site.context.queue.enqueue([price_request(known)])
    site.ticks.push(DRAIN)
    all_[0].until("tick.database")
    eventually(lambda: site.context.redis.exists(site.context.keys.outage))
    eventually(
        lambda: not site.context.redis.exists(site.context.keys.outage),
    )
    eventually(lambda: all_[0].output.count("tick.database") >= 2)
    assert all_[0].output.count("tick.database") <= 4
    assert len(provider.arrivals()) == calls
    pg_server.start()
    eventually(lambda: site.context.queue.size == 0, what="resumed")
    quiet(*all_)
    assert failed_ticks(site.context.settings.redis_url) == []
    assert [one.process.poll() for one in all_] == [None, None]
