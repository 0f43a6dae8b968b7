"""The process of the scheduler on a real Redis: one lock, its end, and strange neighbours."""

from __future__ import annotations

import pickle
import signal
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis
from rq import Queue
from rq_scheduler.scheduler import Scheduler

from local.servers.valkey import ValkeyServer
from queueing import Keys
from runtime import heartbeat
from runtime.stopping import StopFlag
from tests.kit.schedulers import NEW, given, schedulers
from tests.kit.waiting import eventually
from tests.kit.worker import Running, process_env
from worker.ticks import BATCH, SECONDARY


@pytest.fixture
def new(redis_url: str) -> Iterator[NEW]:
    with schedulers(redis_url) as build:
        yield build


# --- neighbours in the same Redis


def test_a_foreign_pickled_job_under_rq_scheduler_is_nobodys_business(
    new: NEW, r: redis.Redis
) -> None:
    """One such job kills a stock rqscheduler that reads JSON."""
    with redis.Redis.from_url(given_url(new)) as raw:
        theirs: Any = Scheduler("default", connection=raw)
        theirs.enqueue_at(_past(), print, "hello")
        before = r.zrange("rq:scheduler:scheduled_jobs", 0, -1)
        one = new()
        one.run_once()
        assert sorted(one.listed()) == [BATCH, SECONDARY]
        assert r.zrange("rq:scheduler:scheduled_jobs", 0, -1) == before
        assert Queue("default", connection=raw).count == 0


def test_a_foreign_job_in_our_list_does_not_stop_the_pass(new: NEW) -> None:
    one = new()
    with redis.Redis.from_url(given_url(new)) as raw:
        Queue("assetq-massive", connection=raw).enqueue(print, "hello", job_id="theirs")
        raw.rpush("rq:queue:assetq-massive", "no-such-job", b"\xc3\xa9-\xe2\x82\xac")
        one.run_once()
        ids = [i.decode() for i in raw.lrange("rq:queue:assetq-massive", 0, -1)]
        assert len(ids) == 5
        assert ids[0].startswith("batch-"), "urgent, before theirs"


def test_a_damaged_entry_is_repaired(new: NEW) -> None:
    one = new()
    one.run_once()
    one.connection.hset("rq:job:every-batch", "data", zlib.compress(pickle.dumps(("x",))))
    one.connection.zadd(one.scheduled_jobs_key, {"stray": 1, "every-batch": 17})
    one.work_off()
    one.context.shift(300_000)
    one.run_once()
    assert one.listed() == [BATCH]
    assert not one.connection.zscore(one.scheduled_jobs_key, "stray")


def given_url(new: NEW) -> str:
    return new().context.settings.redis_url


def _past() -> Any:
    return datetime.fromtimestamp(0, UTC).replace(tzinfo=None)


# --- several schedulers, and the process


def test_two_schedulers_push_no_more_than_one(new: NEW) -> None:
    first, second = new(), new()
    for _ in range(5):
        first.run_once()
        second.run_once()
    assert first.listed() == [BATCH, SECONDARY]


def test_one_lock_with_an_owner(new: NEW) -> None:
    first, second = new(), new()
    assert first.acquire_lock()
    assert not second.acquire_lock()
    second.remove_lock()
    assert not second.acquire_lock(), "only its owner frees it"
    first.remove_lock()
    assert second.acquire_lock()
    second.connection.delete(second.scheduler_lock_key)
    assert first.acquire_lock(), "it ran out"
    second.remove_lock()
    assert not second.acquire_lock(), "the former owner does not free another one's"


def test_a_dead_schedulers_lock_runs_out(new: NEW) -> None:
    one = new()
    assert one.acquire_lock()
    assert 0 < int(one.connection.pttl(one.scheduler_lock_key)) <= 15_000


@pytest.fixture
def process(redis_url: str, project_root: Path, tmp_path: Path) -> Iterator[Callable[..., Running]]:
    running: list[Running] = []

    def start(**more: Any) -> Running:
        env = process_env(given(redis_url, **more), tmp_path, PYTHONUNBUFFERED="1")
        log = tmp_path / f"scheduler{len(running)}.log"
        running.append(Running(project_root, "scheduler", env, log))
        return running[-1]

    yield start
    for one in running:
        one.end()


def test_the_process_survives_a_flush_and_a_restart_of_redis(
    process: Callable[..., Running], r: redis.Redis, redis_url: str, valkey_server: ValkeyServer
) -> None:
    one = process()
    one.until("tick.pushed")
    entries = "assetq:{massive}:scheduler:entries"
    eventually(lambda: r.zcard(entries) == 2)
    r.flushall()
    eventually(lambda: r.zcard(entries) == 2, what="entries after the flush")
    eventually(lambda: r.zcard("assetq:{massive}:heartbeats") == 1)
    valkey_server.kill()
    one.until("redis.away")
    valkey_server.start()
    with redis.Redis.from_url(valkey_server.url) as again:
        again.flushall()
        eventually(lambda: again.zcard(entries) == 2, what="entries after the restart")
        assert one.process.poll() is None
        assert one.terminate(within_s=25) == 0
        assert heartbeat.processes(again, Keys()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_within_a_second(
    process: Callable[..., Running], number: signal.Signals
) -> None:

    def took_s() -> float:
        one = process()
        one.until("scheduler.started")
        began = time.monotonic()
        one.process.send_signal(number)
        assert one.process.wait(20) == 0
        assert "scheduler.ended" in one.output
        return time.monotonic() - began

    assert any(took_s() < 1.5 for _ in range(10)), "on a busy machine one of ten does"


def test_bad_settings_are_one_line_and_no_traceback(process: Callable[..., Running]) -> None:
    one = process()
    one.end()
    bad = Running(
        Path(__file__).resolve().parents[2],
        "scheduler",
        {**one.env, "BATCH_INTERVAL_MINUTES": "never"},
        one.log.with_name("bad.log"),
    )
    assert bad.process.wait(60) == 3
    assert "BATCH_INTERVAL_MINUTES" in bad.output
    assert "Traceback" not in bad.output


def test_it_leaves_a_heartbeat(new: NEW) -> None:
    one = new()
    one.run_once()
    [seen] = heartbeat.processes(one.context.redis, one.context.keys)
    assert seen.role == "scheduler"
    assert seen.age_ms < 60_000


def test_it_stops_between_two_passes(new: NEW) -> None:
    one, stop = new(), StopFlag()
    thread = threading.Thread(target=one.run, kwargs={"stop": stop}, daemon=True)
    thread.start()
    eventually(lambda: BATCH in one.listed())
    stop.set()
    thread.join(60)
    assert not thread.is_alive()
