"""The four watched metrics on batch records, and read from (fake) Redis."""

from __future__ import annotations

from dataclasses import replace

import fakeredis
import pytest

from health.batches import SUPERSEDED, SettledBatch, last_update_ms, recent_batches, settled
from health.metrics import (
    HOUR_MS,
    LATENCY,
    QUEUE_SIZE,
    RATE_LIMIT_WAITS,
    SUCCESS_RATE,
    Limit,
    Metric,
    latency_ms,
    measure,
    of_the_last_hour,
    success_rate,
)
from queueing import Batch, BatchOutcome, BatchRecord, Policy, Priority, PriorityQueue, Request
from runtime.context import Context
from settings import Settings

ASSETS = ("XAUUSD", "EURUSD", "BTCUSD")
NOW_MS = 1_764_000_000_000
OK = BatchOutcome("updated", at_ms=NOW_MS)
CURRENT = BatchOutcome("current", at_ms=NOW_MS)
OLD = BatchOutcome("current")
FAILED = BatchOutcome("failed", "502", NOW_MS)
RETRYING = BatchOutcome("retrying", "timeout", NOW_MS)


def record(
    *outcomes: BatchOutcome | None,
    minutes_ago: float = 0,
    took_ms: int | None = None,
    by_hand: bool = False,
) -> BatchRecord:
    started_ms = NOW_MS - int(minutes_ago * 60_000)
    return BatchRecord(
        slot=f"{started_ms}-by-hand" if by_hand else str(started_ms // 1000),
        planned_at_ms=started_ms,
        started_at_ms=started_ms,
        assets=ASSETS,
        outcomes={s: o for s, o in zip(ASSETS, outcomes, strict=True) if o},
        finished_at_ms=None if took_ms is None else started_ms + took_ms,
    )


def rate(*records: BatchRecord) -> float | None:
    return success_rate(settled(records))


def test_updated_and_current_are_successes() -> None:
    assert rate(record(OK, CURRENT, OK)) == 100
    assert rate(record(OK, FAILED, RETRYING)) == pytest.approx(100 / 3)


def test_nothing_to_measure_is_no_alert() -> None:
    assert rate() is None
    assert rate(record(None, None, None)) is None
    assert latency_ms(settled([record(OK, None, None)])) is None
    assert SUCCESS_RATE.of(None).ok


def test_the_running_batch_counts_what_it_knows() -> None:
    assert rate(record(OK, None, None)) == 100
    assert rate(record(FAILED, None, None)) == 0


def test_a_superseded_batch_counts_its_missing_outcomes_as_failed() -> None:
    newest, older = record(None, None, None), record(OK, None, None, minutes_ago=5)
    for order in ([newest, older], [older, newest]):
        first, second = settled(order)
        assert first.record is newest
        assert dict(first.outcomes) == {}
        assert [error for _, error in second.failed] == [SUPERSEDED] * 2
        assert rate(*order) == pytest.approx(100 / 3)


def test_a_batch_by_hand_and_its_neighbour_are_one_request() -> None:
    scheduled = record(None, None, OK, minutes_ago=2)
    by_hand = record(OK, None, OK, minutes_ago=1, by_hand=True)
    assert settled([by_hand, scheduled])[1].outcomes.keys() == {"XAUUSD", "BTCUSD"}
    assert rate(scheduled, by_hand) == 100
    taken_over = record(OK, FAILED, OK)
    _, second, third = settled([scheduled, by_hand, taken_over])
    assert second.outcomes["EURUSD"] is FAILED
    assert third.outcomes["XAUUSD"] is OK
    assert third.outcomes["EURUSD"] is FAILED


def ended(after_ms: int, *, minutes_ago: int = 0, status: str = "updated") -> BatchRecord:
    """A batch whose last asset got its outcome so long after the start."""
    at_ms = NOW_MS - minutes_ago * 60_000 + after_ms
    return record(OLD, OLD, BatchOutcome(status, at_ms=at_ms), minutes_ago=minutes_ago)


def test_latency_is_the_mean_of_the_batches_that_are_over() -> None:
    running = record(OK, OK, None, minutes_ago=10)
    assert latency_ms(settled([ended(1_000), ended(4_000, minutes_ago=5), running])) == 2_500


def test_a_batch_is_over_when_its_last_retry_is() -> None:
    assert latency_ms(settled([ended(3_200, status="retrying")])) is None
    assert latency_ms(settled([ended(65_000)])) == 65_000
    assert latency_ms(settled([record(OLD, OLD, OLD)])) == 0, "nothing had to be done"


def test_only_the_last_hour_counts_or_one_interval() -> None:
    batches = settled([record(OK, OK, OK, minutes_ago=m) for m in (0, 59.9, 60.1, 119)])
    assert len(of_the_last_hour(batches, NOW_MS, 300_000)) == 2
    assert len(of_the_last_hour(batches, NOW_MS, 2 * HOUR_MS)) == 4


def test_last_update_is_the_newest_success() -> None:
    older = record(replace(OK, at_ms=NOW_MS - 7), FAILED, OK, minutes_ago=5)
    assert last_update_ms(settled([older]), NOW_MS) == NOW_MS
    assert last_update_ms(settled([record(FAILED, None, RETRYING)]), NOW_MS) is None


@pytest.mark.parametrize(
    ("limit", "good", "bad"),
    [
        (SUCCESS_RATE, 90, 89.9),
        (LATENCY, 30_000, 30_001),
        (QUEUE_SIZE, 500, 501),
        (RATE_LIMIT_WAITS, 10, 11),
    ],
)
def test_thresholds(limit: Limit, good: float, bad: float) -> None:
    assert limit.of(good).ok
    assert not limit.of(bad).ok
    assert limit.of(bad).value == bad


def test_what_is_shown_decides() -> None:
    assert SUCCESS_RATE.of(89.96).value == 90
    assert SUCCESS_RATE.of(89.96).ok


def measured(context: Context) -> tuple[Metric, ...]:
    batches, stats = recent_batches(context.queue), context.queue.stats()
    return measure(batches, stats, context.limiter.status(), interval_ms=300_000)


@pytest.fixture
def context() -> Context:
    redis = fakeredis.FakeRedis(decode_responses=True)
    return Context.on(redis, Settings.model_validate({}))


def begin(queue: PriorityQueue, now_ms: int, **outcomes: BatchOutcome) -> None:
    queue.now_ms = now_ms
    batch = Batch(str(now_ms // 1000), now_ms, now_ms + 300_000, 300_000, 3, ASSETS, outcomes)
    wanted = [Request(symbol) for symbol in ASSETS if symbol not in outcomes]
    queue.enqueue(wanted, Priority.CRITICAL, batch=batch)


def test_read_from_redis(context: Context) -> None:
    queue = context.queue
    now_ms = context.redis_now_ms()
    begin(queue, now_ms - 300_000, XAUUSD=CURRENT, EURUSD=FAILED)  # BTCUSD stays open
    begin(queue, now_ms, XAUUSD=CURRENT, EURUSD=CURRENT, BTCUSD=CURRENT)
    queue.enqueue([Request("GBPUSD"), Request("USDJPY")], Priority.LOW)
    context.redis.zadd(context.keys.waits, {"old": now_ms - HOUR_MS - 1, "new": now_ms})
    values = {metric.name: metric.value for metric in measured(context)}
    assert values == {
        "batch.priority.success_rate": 66.7,
        "batch.priority.latency_ms": 0,
        "queue.size": 2,  # BTCUSD waits too, and is critical
        "api.rate_limit_waits": 1,
    }


def test_records_that_are_gone_are_skipped(context: Context) -> None:
    now_ms = context.redis_now_ms()
    begin(context.queue, now_ms, XAUUSD=OK, EURUSD=OK, BTCUSD=OK)
    context.redis.zadd(context.keys.batches, {"gone": now_ms})
    (batch,) = recent_batches(context.queue)
    assert isinstance(batch, SettledBatch)
    assert batch.known


def test_without_a_limit_there_is_nothing_to_wait_for(context: Context) -> None:
    context.limiter.policy = Policy(limit=None)
    found = measure((), context.queue.stats(), context.limiter.status(), interval_ms=300_000)
    assert [metric.value for metric in found] == [None, None, 0, 0]
    assert all(metric.ok for metric in found)
