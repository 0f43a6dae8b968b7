"""`rq worker` exactly as the Procfile starts it: what it runs, and how it ends."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis
from rq import Queue
from rq.exceptions import StopRequested
from rq.job import Job
from rq.registry import FailedJobRegistry
from rq.serializers import JSONSerializer
from rq.suspension import resume, suspend
from rq.worker import WorkerStatus

from cli.commands.processes import RQ_OPTIONS
from local.sandbox import SandboxServer
from queueing import Keys
from runtime import heartbeat
from tests.kit import worker as worker_kit
from tests.kit.waiting import eventually
from tests.kit.worker import KEY, Gate, Running, Site, process_env, settings_for
from worker.rq_classes import TickJob, TickWorker
from worker.ticks import BATCH, DRAIN, SECONDARY

START = Callable[..., Running]


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def provider(gate: Gate) -> Iterator[SandboxServer]:
    with worker_kit.sandbox("starter", on_request=gate) as server:
        yield server


@pytest.fixture
def site(redis_url: str, migrated_url: str, provider: SandboxServer) -> Iterator[Site]:
    with Site.open(settings_for(redis_url, migrated_url, provider.url)) as opened:
        yield opened


@pytest.fixture
def start(site: Site, project_root: Path, tmp_path: Path) -> Iterator[START]:
    with ExitStack() as stack:
        count = 0

        def run(**more: str) -> Running:
            nonlocal count
            count += 1
            env = process_env(site.context.settings, tmp_path, PYTHONUNBUFFERED="1", **more)
            one = Running(project_root, "worker", env, tmp_path / f"worker{count}.log")
            stack.callback(one.end)
            return one

        yield run


@pytest.fixture
def raw(redis_url: str) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def ready(site: Site, count: int = 1) -> None:
    """That number of workers live and listen."""
    eventually(lambda: len(heartbeat.processes(site.context.redis, site.context.keys)) == count)


def failed(raw: redis.Redis) -> dict[str, str]:
    """Failed jobs and why."""
    registry = FailedJobRegistry("assetq-massive", connection=raw, serializer=JSONSerializer)
    found = {}
    for job_id in registry.get_job_ids():
        job = Job.fetch(job_id, connection=raw, serializer=JSONSerializer)
        result = job.latest_result()
        found[job_id] = (result.exc_string if result else None) or ""
    return found


LINE = (
    "rq worker -c worker.rq_config -S json "
    "--worker-class worker.rq_classes.TickWorker --job-class worker.rq_classes.TickJob"
)


def test_rqs_own_line_written_out_does_the_same(
    site: Site, project_root: Path, tmp_path: Path, raw: redis.Redis
) -> None:
    words = LINE.split()
    assert words[2:] == list(RQ_OPTIONS)
    env = process_env(site.context.settings, tmp_path)
    with subprocess.Popen(words, cwd=project_root, env=env) as worker:
        site.ask("EURUSD")
        site.ticks.push(DRAIN)
        eventually(lambda: site.events() == ["EURUSD"])
        worker.terminate()
        assert worker.wait(60) == 0
    assert failed(raw) == {}


def test_a_secondary_round_forgets_calls_of_long_ago(site: Site, start: START) -> None:
    site.refresh("EURUSD")
    site.refresh("BTCUSD")
    site.connection.execute(
        b"""UPDATE data_sources.api_calls SET started_at = now() - interval '31 days'
            WHERE tickers = '{C:EURUSD}'"""
    )
    start()
    site.ticks.push(SECONDARY, "1")
    old = "SELECT count(*) FROM data_sources.api_calls WHERE tickers = '{C:EURUSD}'"
    eventually(lambda: site.one(old) == 0)
    assert site.one("SELECT count(*) FROM data_sources.api_calls WHERE tickers = '{X:BTCUSD}'")


def test_ticks_run_and_leave_nothing_that_stays(site: Site, start: START, raw: redis.Redis) -> None:
    one = start()
    for kind in (BATCH, SECONDARY, DRAIN):
        site.ticks.push(kind, *([] if kind == DRAIN else ["1"]))
    eventually(lambda: len(set(site.events())) == 7, what="all assets refreshed")
    eventually(lambda: site.context.queue.size == 0)
    eventually(lambda: site.ticks.queue.count == 0)
    assert failed(raw) == {}
    assert site.context.redis.get(site.context.keys.secondary)
    assert one.terminate(within_s=60) == 0
    for key in raw.scan_iter("rq:job:*"):
        assert raw.ttl(key) > 0, key
    assert KEY not in one.output


def test_a_foreign_function_is_refused_and_ends_as_failed(
    site: Site, start: START, raw: redis.Redis, tmp_path: Path
) -> None:
    trap = tmp_path / "it-ran"
    theirs = Queue("assetq-massive", connection=raw, serializer=JSONSerializer)
    theirs.enqueue("os.mkdir", str(trap), job_id="foreign")
    theirs.enqueue("builtins.open", str(trap), "w", job_id="foreign-2", on_failure=None)
    one = start()
    ready(site)
    eventually(lambda: len(failed(raw)) == 2)
    assert "refused" in failed(raw)["foreign"]
    assert "os.mkdir" in failed(raw)["foreign"]
    assert not trap.exists()
    assert "terminated unexpectedly" not in one.output
    assert 0 < raw.ttl("rq:job:foreign") <= 24 * 3600 + 60
    site.ask("EURUSD")
    site.ticks.push(DRAIN)
    eventually(lambda: site.events() == ["EURUSD"], what="the worker goes on")


def test_a_pickled_job_and_garbage_do_not_stop_the_worker(
    site: Site, start: START, raw: redis.Redis, tmp_path: Path
) -> None:
    Queue("assetq-massive", connection=raw).enqueue(
        os.mkdir, str(tmp_path / "ran"), job_id="pickled"
    )
    raw.rpush("rq:queue:assetq-massive", "no-such-job")
    raw.hset("rq:job:torn", mapping={"data": b"\xff\x00", "created_at": "yesterday"})
    raw.rpush("rq:queue:assetq-massive", "torn")
    raw.hset("rq:job:odd", mapping={"data": zlib.compress(json.dumps({"a": 1}).encode())})
    raw.rpush("rq:queue:assetq-massive", "odd")
    workers = [start(), start()]
    ready(site, 2)
    site.ask("EURUSD")
    site.ticks.push(DRAIN)
    eventually(lambda: site.events() == ["EURUSD"])
    eventually(lambda: "pickled" in failed(raw))
    assert "refused" in failed(raw)["pickled"]

    def told(word: str) -> bool:
        return any(word in worker.output for worker in workers)

    eventually(lambda: told("odd") and told("tick.unreadable"))  # the other may have these in hand
    assert not (tmp_path / "ran").exists()
    left = "rq:queue:assetq-massive:intermediate"
    eventually(lambda: raw.llen(left) <= 2, what="what RQ found no job for")
    assert [w.process.poll() for w in workers] == [None, None]


def test_sigterm_ends_an_idle_worker_at_once(site: Site, start: START) -> None:
    def took_s() -> float:
        one = start()
        ready(site)
        began = time.monotonic()
        assert one.terminate(within_s=60) == 0
        return time.monotonic() - began

    assert any(took_s() < 4 for _ in range(3)), "on a busy machine one of three does"
    assert heartbeat.processes(site.context.redis, site.context.keys) == []
    assert not site.context.redis.smembers("rq:workers")


def test_sigterm_lets_a_call_end_and_gives_the_rest_to_others(
    site: Site, start: START, provider: SandboxServer, gate: Gate, raw: redis.Redis
) -> None:
    gate.close()
    site.capabilities.refuse("snapshot_v3", "not in this plan")
    for symbol in ("EURUSD", "BTCUSD", "GBPUSD"):
        site.ask(symbol)
    one = start()
    site.ticks.push(DRAIN)
    eventually(lambda: len(provider.arrivals()) == 1)
    for pid in (*one.horses(), one.process.pid):  # to every process, as Heroku does
        os.kill(pid, signal.SIGTERM)
    gate.open()
    assert one.process.wait(25) == 0, "within the time that a host leaves"
    assert site.events() == ["EURUSD"]
    assert len(provider.arrivals()) == 1
    assert site.where("BTCUSD") == "queue"
    assert failed(raw) == {}
    assert site.ticks.waiting(DRAIN), "its successor"


def test_sigterm_ends_a_drain_that_waits(site: Site, start: START, raw: redis.Redis) -> None:
    site.ask("EURUSD")
    site.context.limiter.block(600_000, "by hand")
    one = start()
    site.ticks.push(DRAIN)
    eventually(lambda: site.context.redis.exists(site.context.keys.waiter))
    assert one.terminate(within_s=25) == 0, "its slice would take 75 s"
    assert not site.context.redis.exists(site.context.keys.waiter)
    assert failed(raw) == {}
    assert site.where("EURUSD") == "queue"


@pytest.mark.parametrize("number", range(6))
def test_sigterm_at_any_moment_of_a_start(
    site: Site, start: START, raw: redis.Redis, number: int
) -> None:
    """Around the pop and the fork: the worker ends soon, with 0, and no tick is left half done."""
    one = start()
    ready(site)
    site.ask("EURUSD")
    site.context.limiter.block(600_000, "by hand")  # a drain would wait its whole slice
    site.ticks.push(DRAIN)
    until = time.monotonic() + number * 0.004
    while time.monotonic() < until:
        continue
    assert one.terminate(within_s=25) == 0, "its slice would take 75 s"
    assert failed(raw) == {}


def test_no_other_thread_takes_a_signal_of_the_worker(site: Site, start: START) -> None:
    """It would be noticed there, and the main thread would wait for its work-horse on."""
    one = start()
    ready(site)
    others = [
        task
        for task in Path(f"/proc/{one.process.pid}/task").iterdir()
        if task.name != str(one.process.pid)
    ]
    assert others, "RQ's for commands"
    for task in others:
        (held_back,) = re.findall(r"^SigBlk:\t(\w+)$", (task / "status").read_text(), re.M)
        for number in (signal.SIGINT, signal.SIGTERM):
            assert int(held_back, 16) >> (number - 1) & 1, number.name


@pytest.mark.parametrize("busy", [False, True])
def test_a_stop_that_logging_swallowed_is_kept(site: Site, busy: bool) -> None:
    """RQ raises it in the signal handler: if that strikes while a line is logged, it is lost."""
    with redis.Redis.from_url(site.context.settings.redis_url) as connection:
        queue = Queue("assetq-massive", connection=connection, serializer=JSONSerializer)
        one = TickWorker([queue], connection=connection, serializer=JSONSerializer)
        one.register_birth()
        one._shutdown_requested_date = datetime.now(UTC)
        one.set_state(WorkerStatus.BUSY if busy else WorkerStatus.IDLE)
        with contextlib.suppress(StopRequested):
            one.handle_warm_shutdown_request()
        if busy:
            one.heartbeat()
            one.set_state(WorkerStatus.IDLE)
        with pytest.raises(StopRequested):
            one.heartbeat()
        one.register_death()


def test_a_stop_before_the_fork_reaches_the_work_horse(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    with redis.Redis.from_url(site.context.settings.redis_url) as connection:
        queue = Queue("assetq-massive", connection=connection, serializer=JSONSerializer)
        one = TickWorker([queue], connection=connection, serializer=JSONSerializer)
        horse = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])

        def forked(worker: TickWorker, *_: object) -> None:
            worker._horse_pid = horse.pid

        monkeypatch.setattr("rq.Worker.fork_work_horse", forked)
        job = TickJob.create("worker.tasks.drain", connection=connection)
        one.fork_work_horse(job, queue)
        assert horse.poll() is None
        one._stop_requested = True
        one.fork_work_horse(job, queue)
        assert horse.wait(60) == -signal.SIGUSR1
        assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()


def test_it_is_in_the_books_again_after_a_flush(site: Site, start: START) -> None:
    start()
    ready(site)
    site.context.redis.flushall()
    site.ticks.push(DRAIN)  # something to do, so that it need not wait for its next look
    ready(site)
    eventually(lambda: site.context.redis.scard("rq:workers") == 1)
    [key] = site.context.redis.smembers("rq:workers")
    assert site.context.redis.hexists(str(key), "birth")


def test_a_suspended_worker_goes_on_beating(site: Site, start: START, raw: redis.Redis) -> None:
    start()
    ready(site)
    (key,) = raw.smembers("rq:workers")
    suspend(raw)
    try:
        site.ticks.push(DRAIN)  # an idle worker looks when one has come
        eventually(lambda: raw.hget(key, "state") == b"suspended")
        site.context.redis.delete(site.context.keys.heartbeats)
        ready(site)
    finally:
        resume(raw)


def test_a_worker_leaves_a_heartbeat(site: Site, start: START) -> None:
    start()
    ready(site)
    [seen] = heartbeat.processes(site.context.redis, site.context.keys)
    assert seen.role == "worker"
    assert 0 < site.context.redis.pttl(site.context.keys.heartbeats) <= 3_600_000


def test_a_killed_work_horse_fails_its_tick_and_nothing_else(
    site: Site, start: START, provider: SandboxServer
) -> None:
    provider.configure({"kind": "hang", "count": 1})
    one = start()
    site.ask("EURUSD")
    site.ticks.push(DRAIN)
    eventually(lambda: provider.arrivals())
    [horse] = one.horses()
    os.kill(horse, signal.SIGKILL)
    assert site.where("EURUSD") == "leases"
    site.context.redis.zadd(site.context.keys.leases, {"EURUSD": 1})  # its lease ends
    site.ticks.push(DRAIN)
    eventually(lambda: site.events() == ["EURUSD"])
    assert one.process.poll() is None


def test_postgres_away_is_no_failed_tick(
    site: Site, start: START, raw: redis.Redis, pg_server: Any, provider: SandboxServer
) -> None:
    one = start()
    ready(site)
    site.ask("EURUSD")
    pg_server.kill()
    site.ticks.push(DRAIN)
    one.until("tick.database")
    eventually(lambda: site.context.redis.exists(site.context.keys.outage))
    eventually(lambda: not one.horses())
    assert failed(raw) == {}
    assert site.where("EURUSD") == "queue"
    assert provider.arrivals() == []


def test_without_a_key_it_says_so_and_ends(start: START) -> None:
    one = start(MASSIVE_API_KEY="")
    assert one.process.wait(60) == 3
    assert "MASSIVE_API_KEY" in one.output
    assert "Traceback" not in one.output


def test_keys_of_other_providers_are_apart() -> None:
    assert Keys("one").heartbeats != Keys("two").heartbeats
