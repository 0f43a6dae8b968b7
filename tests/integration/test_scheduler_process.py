"""The scheduler on a real Redis: slots, recovery, one lock, and strange neighbours."""

from __future__ import annotations

import pickle
import signal
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import redis
from rq import Queue
from rq_scheduler.scheduler import Scheduler

from local.servers.valkey import ValkeyServer
from queueing import Batch, GiveBack, Keys, Priority, Request
from runtime import heartbeat
from runtime.stopping import StopFlag
from scheduler.entries import schedule
from scheduler.process import LOST_TICK_MS, TickScheduler
from settings import Settings
from tests.kit.waiting import eventually
from tests.kit.worker import (
    Running,
    ShiftedContext,
    assert_no_key_stays,
    process_env,
    settings_for,
)
from worker.ticks import BARS, BATCH, DRAIN, SECONDARY, Ticks

HOUR_MS = 3_600_000
NEW = Callable[..., "One"]


class One(TickScheduler):
    """A scheduler and what a test wants to see and do around it."""

    def __init__(self, context: ShiftedContext, ticks: Ticks) -> None:
        super().__init__(context, ticks)
        self.context, self.ticks = context, ticks

    def listed(self) -> list[str]:
        return [job_id.partition("-")[0] for job_id in self.ticks.queue.job_ids]

    def passed(self) -> list[str]:
        """What waits after one more pass."""
        self.run_once()
        return self.listed()

    def slots(self) -> list[tuple[str, str]]:
        """Kind and planned slot of the ticks that wait."""
        jobs = self.ticks.queue.jobs
        return [(str(j.func_name).rpartition(".")[2], j.args[0]) for j in jobs if j.args]

    def slots_of(self, kind: str) -> int:
        """The present slot of an entry."""
        return self._entries[f"every-{kind}"].slot(self.context.redis_now_ms())

    def work_off(self) -> None:
        """What a worker would leave: the present slots' records, an empty list."""
        now_ms = self.context.redis_now_ms()
        slot = now_ms // 300_000 * 300_000
        self.context.queue.enqueue(
            [],
            Priority.CRITICAL,
            batch=Batch(str(slot // 1000), slot, slot + 300_000, 300_000, 0, ()),
        )
        self.context.redis.set(
            self.context.keys.secondary, str(now_ms // 1_800_000 * 1800), px=86_400_000
        )
        if f"every-{BARS}" in self._entries:
            self.context.redis.set(self.context.keys.bars, self.slots_of(BARS), px=86_400_000)
        self.ticks.queue.empty()


@pytest.fixture
def new(redis_url: str) -> Iterator[NEW]:
    with ExitStack() as stack:

        def build(**more: Any) -> One:
            context = stack.enter_context(ShiftedContext.open(given(redis_url, **more)))
            ticks = Ticks(context.redis, context.keys)
            stack.callback(ticks.close)
            one = One(context, ticks)
            # In the middle of its slots, so that no boundary falls into a test.
            now_ms = context.redis_now_ms()
            context.shift(now_ms // 1_800_000 * 1_800_000 + 60_000 - now_ms)
            return one

        yield build


def given(redis_url: str, **more: Any) -> Settings:
    """Of a plan that counts calls: bars then have no tick of their own."""
    plan = {"polygon_rate_limit": 100_000, **more}
    return settings_for(redis_url, "postgresql://u@127.0.0.1:1/none", "http://127.0.0.1:1", **plan)


# --- slots


def test_a_start_runs_at_once_and_each_slot_once(new: NEW) -> None:
    one = new()
    one.run_once()
    assert one.listed() == [BATCH, SECONDARY]
    one.run_once()
    assert one.listed() == [BATCH, SECONDARY], "nothing piles up"
    one.work_off()
    one.run_once()
    assert one.listed() == []
    one.context.shift(300_000)
    one.run_once()
    assert one.listed() == [BATCH]
    one.work_off()
    one.context.shift(1_800_000 - 300_000)
    one.run_once()
    assert one.listed() == [BATCH, SECONDARY]


def test_new_bars_are_asked_for_once_in_each_slot(new: NEW) -> None:
    one = new(polygon_rate_limit="")
    one.run_once()
    assert sorted(one.listed()) == [BARS, BATCH, SECONDARY]
    slot = one.slots_of(BARS)
    one.work_off()
    assert one.passed() == []
    one.context.shift(300_000)
    assert BARS in one.passed()
    assert one.slots_of(BARS) == slot + 300


def test_a_start_within_a_slot_that_was_begun_runs_nothing(new: NEW) -> None:
    one = new()
    one.work_off()
    one.run_once()
    assert one.listed() == []


def test_after_an_hour_without_workers_there_is_one_of_each(new: NEW) -> None:
    one = new()
    for _ in range(60):
        one.run_once()
        one.context.shift(60_000)
    assert sorted(one.listed()) == [BATCH, SECONDARY]


def test_after_an_hour_without_a_scheduler_there_is_one_of_each(new: NEW) -> None:
    one = new()
    one.run_once()
    one.work_off()
    one.context.shift(HOUR_MS)
    one.run_once()
    assert sorted(one.listed()) == [BATCH, SECONDARY]
    one.work_off()
    one.run_once()
    assert one.listed() == []


def test_slots_do_not_drift(new: NEW) -> None:
    """However late the passes come, each tick names a multiple of the interval."""
    one = new()
    planned = []
    for _ in range(12):
        one.run_once()
        planned += [int(slot) for kind, slot in one.slots() if kind == BATCH]
        one.work_off()
        one.context.shift(300_000 + 7_000)
    assert all(slot % 300 == 0 for slot in planned)
    assert [b - a for a, b in pairwise(planned)] == [300] * 11


def test_a_lost_tick_is_pushed_again_after_ten_seconds(new: NEW) -> None:
    one = new()
    one.context.stand_still()
    one.run_once()
    one.ticks.queue.empty()  # popped by a worker that died
    one.context.shift(LOST_TICK_MS - 1)
    one.run_once()
    assert one.listed() == []
    one.context.shift(1)
    one.run_once()
    assert sorted(one.listed()) == [BATCH, SECONDARY]


def test_urgent_first(new: NEW) -> None:
    one = new()
    one.ticks.push(DRAIN)
    one.run_once()
    assert one.listed() == [BATCH, DRAIN, SECONDARY]


# --- entries


def test_the_schedule_for_people(new: NEW) -> None:
    one = new()
    assert [row["next_run"] for row in schedule(one.context)] == [None, None]
    one.run_once()
    batch, secondary = schedule(one.context)
    assert batch["id"] == "every-batch"
    assert batch["trigger"] == "every 5 min"
    assert "XAUUSD" in batch["name"]
    assert batch["next_run"].endswith("+00:00")
    assert secondary["trigger"] == "every 30 min"


@pytest.mark.parametrize("lost", ["entries", "job", "both"])
def test_a_missing_entry_is_restored_on_every_pass(new: NEW, lost: str) -> None:
    one = new()
    one.run_once()
    before = schedule(one.context)
    if lost != "job":
        one.connection.delete(one.scheduled_jobs_key)
    if lost != "entries":
        one.connection.delete("rq:job:every-batch")
    one.run_once()
    assert schedule(one.context) == before
    assert one.connection.exists("rq:job:every-batch")


def test_calls_are_kept_for_the_next_batch_after_redis_clock_has_stepped_back(new: NEW) -> None:
    one = new()
    one.run_once()
    limiter, hour_later_s = one.context.limiter, one.context.redis_now_ms() // 1000 + 3600
    one.connection.zadd(one.scheduled_jobs_key, {"every-batch": hour_later_s})
    limiter.plan_batch(hour_later_s * 1000, 300_000, 3)
    one.run_once()
    planned = limiter.status()
    assert 0 < planned.batch_at_ms - planned.now_ms <= 300_000
    assert planned.batch_calls == 3


def test_another_interval_counts_from_the_restart(new: NEW) -> None:
    new().run_once()
    for minutes in (10, 1, 7):
        one = new(batch_interval_minutes=minutes)
        one.run_once()
        batch, _ = schedule(one.context)
        assert batch["trigger"] == f"every {minutes} min"
        score: Any = one.connection.zscore(one.scheduled_jobs_key, "every-batch")
        assert score % (minutes * 60) == 0
        assert 0 < score * 1000 - one.context.redis_now_ms() <= minutes * 60_000


def test_priority_assets_switched_off(new: NEW) -> None:
    new().run_once()
    one = new(priority_assets_enabled="false")
    one.ticks.queue.empty()
    one.context.limiter.plan_batch(one.context.redis_now_ms(), 300_000, 3)
    one.context.shift(300_000)
    one.run_once()
    assert one.listed() == [SECONDARY]
    assert [row["id"] for row in schedule(one.context)] == ["every-secondary"]
    assert not one.connection.zscore(one.scheduled_jobs_key, "every-batch")
    assert one.context.limiter.status().batch_calls == 0, "nothing is kept free for it"


def test_no_key_of_ours_stays(new: NEW, r: redis.Redis) -> None:
    one = new()
    one.run_once()
    assert_no_key_stays(r, one.context.settings)


# --- drains


def test_a_drain_when_something_is_due_and_none_lives(new: NEW) -> None:
    one = new()
    one.work_off()
    one.run_once()
    assert one.listed() == []
    one.context.queue.enqueue([Request("EURUSD")])
    one.run_once()
    one.run_once()
    assert one.listed() == [DRAIN]


def test_an_expired_lease_is_taken_up(new: NEW) -> None:
    one = new(polygon_rate_limit="")
    one.work_off()
    one.context.queue.enqueue([Request("EURUSD")])
    one.context.queue.lease_ms = 50
    one.context.queue.claim()
    eventually(lambda: DRAIN in one.passed())
    assert one.context.redis.zscore(one.context.keys.queue, "EURUSD")


def test_a_delayed_item_is_taken_up(new: NEW) -> None:
    one = new(polygon_rate_limit="")
    one.work_off()
    one.context.queue.enqueue([Request("EURUSD")])
    claimed: Any = one.context.queue.claim()
    one.context.queue.end(claimed, [GiveBack("EURUSD", delay_ms=60_000)], answered=True)
    one.run_once()
    assert one.listed() == []
    one.context.redis.zadd(one.context.keys.delayed, {"EURUSD": 1})  # its delay is over
    eventually(lambda: DRAIN in one.passed())


def test_a_waiting_drain_is_left_alone_unless_it_died(new: NEW) -> None:
    one = new(polygon_rate_limit="")
    one.work_off()
    redis, keys = one.context.redis, one.context.keys
    redis.set(keys.waiter, "drain@dead", px=50_000)
    redis.hset(keys.quota, "waiter_at", one.context.queue.next_at().now_ms + 50_000)
    one.context.queue.enqueue([Request("EURUSD")])
    one.run_once()
    one.run_once()
    assert one.listed() == []
    one.run_once()
    assert one.listed() == [DRAIN], "it should have taken it two passes ago"


def test_no_drain_during_an_outage_of_postgres(new: NEW) -> None:
    one = new(polygon_rate_limit="")
    one.work_off()
    one.context.queue.enqueue([Request("EURUSD")])
    one.context.redis.set(one.context.keys.outage, "PostgreSQL", px=60_000)
    for _ in range(4):
        one.run_once()
    assert one.listed() == []
    one.context.redis.delete(one.context.keys.outage)
    one.run_once()
    assert one.listed() == [DRAIN]


def test_no_drain_while_calls_are_blocked(new: NEW) -> None:
    one = new(polygon_rate_limit="")
    one.work_off()
    one.context.queue.enqueue([Request("EURUSD")])
    one.context.limiter.block(60_000, "429")
    for _ in range(4):
        one.run_once()
    assert one.listed() == []


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
