"""The passes of the scheduler on a real Redis: slots, entries, and drains for what is due."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
import redis

from queueing import GiveBack, Request
from scheduler.entries import schedule
from scheduler.process import LOST_TICK_MS
from tests.kit.schedulers import HOUR_MS, NEW, schedulers
from tests.kit.waiting import eventually
from tests.kit.worker import assert_no_key_stays
from worker.ticks import BARS, BATCH, DRAIN, SECONDARY


@pytest.fixture
def new(redis_url: str) -> Iterator[NEW]:
    with schedulers(redis_url) as build:
        yield build


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
