"""Contract of waiting (one drain waits, and is woken only if that helps) and of batch records."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from redis import Redis

from queueing import (
    Batch,
    BatchOutcome,
    Bury,
    Death,
    Done,
    Enqueued,
    Hint,
    LeaseLost,
    Outcome,
    Priority,
    Request,
    Retry,
)
from tests.kit.queueing import CRITICAL, HIGH, LOW, NOW_MS, Kit, limited

UNANSWERED_MS = 1_110


@pytest.fixture
def kit(connection: Redis) -> Iterator[Kit]:
    kit = Kit(connection, limited()).known()
    yield kit
    kit.assert_no_leak()


@pytest.fixture
def full(kit: Kit) -> Kit:
    """Both calls are out, L waits for the next one."""
    kit.limiter.acquire()
    kit.limiter.acquire()
    kit.put("L", at=LOW)
    return kit


def tokens(kit: Kit) -> int:
    return int(kit.redis.llen(kit.keys.wake))


def test_one_drain_waits_and_the_others_leave(full: Kit) -> None:
    first = full.refused(drain="d1")
    assert (first.waiter, first.wait_ms) == (True, UNANSWERED_MS)
    second = full.refused(drain="d2")
    assert (second.waiter, second.waiting) == (False, True)
    assert full.refused(drain="d1").waiter, "it stays the one"
    assert full.queue.next_at().waiting
    assert tokens(full) == 0


def test_a_claim_without_a_drain_never_waits(full: Kit) -> None:
    hint = full.refused()
    assert (hint.waiter, hint.waiting) == (False, False)


def test_the_wait_is_no_longer_than_the_drain_can(full: Kit) -> None:
    full.refused(drain="d1", max_wait_ms=300)
    assert 300 < full.redis.pttl(full.keys.waiter) <= 300 + 1_000
    assert int(full.redis.hget(full.keys.quota, "waiter_at") or 0) == NOW_MS + 300


def test_a_waiter_that_died_is_replaced(full: Kit) -> None:
    full.refused(drain="d1")
    full.redis.delete(full.keys.waiter)  # as its TTL does
    assert full.refused(drain="d2").waiter


def test_a_request_that_changes_nothing_wakes_nobody(full: Kit) -> None:
    full.refused(drain="d1")
    reply = full.queue.enqueue([Request("M")])
    assert reply.waiting, "a drain waits: no tick is needed"
    assert tokens(full) == 0


def test_a_request_that_can_go_sooner_wakes_the_waiting_drain(kit: Kit) -> None:
    kit.put("A", at=LOW)
    claimed = kit.take()
    kit.queue.end(claimed, [Retry("A", 900, LOW, "x")], answered=True)
    assert kit.refused(drain="d1").reason == "delayed"
    kit.put("B")
    assert tokens(kit) == 1
    assert kit.queue.wait(1.0)
    assert not kit.queue.wait(0.001)
    assert kit.take(drain="d1").items[0].symbol == "B"
    assert not kit.queue.next_at().waiting, "a busy drain does not wait"


def test_an_urgent_request_wakes_a_drain_that_waits_for_the_reservation(kit: Kit) -> None:
    kit.limiter.plan_batch(NOW_MS + 10, 60_000, 2)
    kit.put("L", at=LOW)
    assert kit.refused(drain="d1").reason == "reserved"
    kit.put("M", at=LOW)
    assert tokens(kit) == 0
    kit.put("X", at=CRITICAL)
    assert tokens(kit) == 1


def test_nobody_waits_after_an_empty_claim(kit: Kit) -> None:
    assert kit.refused(drain="d1").waiter is False
    assert kit.queue.enqueue([Request("A")]).waiting is False, "a tick must be pushed"


def test_tokens_are_bounded(kit: Kit) -> None:
    kit.put("A", at=LOW)
    kit.queue.end(kit.take(), [Retry("A", 900, LOW, "x")], answered=True)
    kit.refused(drain="d1")
    for n in range(30):
        kit.put(f"S{n}")
    assert 1 <= tokens(kit) <= 8
    for _ in range(30):
        kit.queue.wake()
    assert tokens(kit) == 8


def test_end_tells_when_to_claim_again_and_which_drain_waits(full: Kit) -> None:
    full.limiter.reset()
    claimed = full.take(drain="d1")
    full.limiter.acquire()
    full.put("M", at=LOW)
    full.now_ms += 20
    hint = full.queue.end(claimed, [Done("L")], answered=True, drain="d1")
    assert (hint.waiter, hint.reason, hint.wait_ms) == (True, "window", 1_010)


def test_an_answer_that_frees_a_call_earlier_wakes_the_waiting_drain(kit: Kit) -> None:
    kit.put("A", "B", "C", at=LOW)
    working, _ = kit.take(drain="d1"), kit.take(drain="d2")
    assert kit.refused(drain="d3").wait_ms == UNANSWERED_MS
    kit.now_ms += 30
    hint = kit.queue.end(working, [Done("A")], answered=True, drain="d1")
    assert (hint.waiter, hint.waiting) == (False, True)
    assert hint.wait_ms == 1_010
    assert tokens(kit) == 1


def test_a_granted_drain_leaves_the_next_call_to_the_waiting_one(kit: Kit) -> None:
    kit.put("A", at=LOW)
    kit.queue.end(kit.take(), [Retry("A", 900, LOW, "x")], answered=True)
    kit.now_ms += UNANSWERED_MS - 900
    kit.refused(drain="d1")
    kit.now_ms += 900
    kit.put("B", at=LOW)
    while kit.queue.wait(0.001):
        pass
    granted = kit.take(drain="d2")
    assert granted.hint.waiting
    assert tokens(kit) == 0, "it looks by itself at this very moment"


def test_retire_takes_only_its_own_tokens(full: Kit) -> None:
    full.refused(drain="d1")
    full.queue.wake()
    woken, hint = full.queue.retire("d2")
    assert (woken, hint.waiting) == (False, True)
    assert tokens(full) == 1
    woken, hint = full.queue.retire("d1")
    assert (woken, hint.waiting) == (True, False)
    assert (tokens(full), hint.wait_ms) == (0, UNANSWERED_MS)
    assert full.queue.retire("d1")[0] is False


@pytest.mark.parametrize("event", ["request", "nothing"])
def test_a_dead_waiter_is_noticed_within_two_passes(full: Kit, event: str) -> None:
    """It was killed while it waited: a living one takes its token at once, or looks in time."""
    hint = full.refused(drain="d1")
    assert hint.waiter
    if event == "request":
        full.policy = replace(full.policy, limit=3)
        full.limiter.reset()
        full.put("X", at=CRITICAL)
        assert tokens(full) == 1
    else:
        full.now_ms += hint.wait_ms or 0
    full.now_ms += 1_001
    hint = full.queue.reap()
    assert (hint.waiting, hint.wait_ms) == (False, 0), "the scheduler starts another drain"
    full.take(drain="d2")
    full.policy = replace(full.policy, limit=1)
    full.limiter.reset()
    full.limiter.acquire()
    assert full.refused(drain="d2").waiter, "which waits in its stead"
    assert tokens(full) == 0
    full.now_ms += 1_000
    assert full.queue.reap().waiting, "and lives"


@pytest.mark.parametrize("newer", [CRITICAL, HIGH])
def test_an_item_of_a_newer_version_makes_no_circle(full: Kit, newer: Priority) -> None:
    """Background work is reserved against; what this worker does not know may be critical."""
    full.limiter.reset()
    full.policy = replace(full.policy, limit=3)
    full.limiter.reset()
    full.queue.item_version = 2
    full.put("NEWER", at=newer)
    full.queue.item_version = 1
    full.limiter.plan_batch(full.now_ms + 100, 60_000, 3)
    hint = full.refused(drain="d1")
    assert hint.reason == "reserved"
    assert hint.wait_ms
    assert hint.waiter


def test_a_leaving_drain_tells_the_waiting_one_what_it_leaves(kit: Kit) -> None:
    """d2's answer freed a call now; it was told to claim at once, but has to stop."""
    kit.put("A", "B", "C", at=LOW)
    working, _ = kit.take(drain="d2"), kit.take()
    kit.refused(drain="d1")
    kit.limiter.reset()
    hint = kit.queue.end(working, [Done("A")], answered=True, drain="d2")
    assert hint.wait_ms == 0
    assert tokens(kit) == 0
    _, hint = kit.queue.retire("d2")
    assert hint.waiting
    assert tokens(kit) == 1


def test_the_pass_of_a_stranger_wakes_the_waiting_drain_too(kit: Kit) -> None:
    kit.put("A", "B", at=LOW)
    kit.take(drain="d2")
    kit.take(drain="d2")
    kit.refused(drain="d1")
    kit.limiter.reset()
    kit.redis.delete(kit.keys.wake)
    kit.put("C", at=LOW)
    kit.redis.delete(kit.keys.wake)  # the token got lost with its reader
    assert kit.queue.reap().waiting
    assert tokens(kit) == 1


def test_no_wake_up_is_lost_between_claim_wait_and_retire(kit: Kit) -> None:
    """A request leaves a token for the waiting drain, or says that none waits."""
    kit.put("A", at=LOW)
    kit.queue.end(kit.take(), [Retry("A", 900, LOW, "x")], answered=True)
    for step in ("waiting", "woken", "retired"):
        if step == "waiting":
            kit.refused(drain="d1")
        if step == "retired":
            kit.queue.retire("d1")
        kit.redis.delete(kit.keys.wake)
        reply = kit.queue.enqueue([Request(f"S-{step}")])
        assert reply.waiting == (tokens(kit) == 1)
        assert reply.waiting == (step != "retired")


# --- batches


def batch(slot: str = "1205", **changes: object) -> Batch:
    fields: dict[str, object] = {
        "slot": slot,
        "planned_at_ms": NOW_MS,
        "next_at_ms": NOW_MS + 300_000,
        "interval_ms": 300_000,
        "next_calls": 2,
        "assets": ("X", "Y"),
    }
    return Batch(**fields | changes)  # type: ignore[arg-type]


def begin(kit: Kit, slot: str = "1205", **changes: object) -> Enqueued:
    requests = [Request("X"), Request("Y")]
    return kit.queue.enqueue(requests, CRITICAL, batch=batch(slot, **changes))


def test_a_batch_is_begun_once(kit: Kit) -> None:
    reply = begin(kit)
    assert reply.symbols(Outcome.ENQUEUED) == ["X", "Y"]
    kit.now_ms += 10
    before = kit.dump()
    again = begin(kit)
    assert (again.exists, again.results, again.size) == (True, (), 2)
    assert kit.dump() == before
    record = kit.queue.batch_record("1205")
    assert record is not None
    assert (record.planned_at_ms, record.started_at_ms, record.assets) == (
        NOW_MS,
        NOW_MS,
        ("X", "Y"),
    )
    assert (record.outcomes, record.finished_at_ms, record.calls) == ({}, None, 0)
    assert [r.slot for r in kit.queue.batches(5)] == ["1205"]
    assert kit.queue.batch_record("1210") is None


def test_each_outcome_is_written_by_the_call_that_refreshes(kit: Kit) -> None:
    begin(kit)
    first = kit.take()
    kit.now_ms += 5
    kit.queue.end(first, [Done("X")], answered=True)
    record = kit.queue.batch_record("1205")
    assert record is not None
    assert record.outcomes == {"X": BatchOutcome("updated", None, NOW_MS + 5)}
    assert (record.calls, record.first_call_at_ms, record.finished_at_ms) == (1, NOW_MS, None)
    kit.queue.end(kit.take(), [Bury("Y", Death.INVALID, "404")], answered=True)
    record = kit.queue.batch_record("1205")
    assert record is not None
    assert (record.updated, record.failed) == (["X"], [("Y", "404")])
    assert (record.calls, record.finished_at_ms) == (2, NOW_MS + 5)


def test_a_retry_is_written_as_such_and_replaced_by_its_end(kit: Kit) -> None:
    kit.policy = limited(limit=None)
    begin(kit)
    claimed = kit.take(max_items=2)
    back = [Retry("X", 10, LOW, "HTTP 500")]
    kit.queue.end(claimed, back, answered=True)
    kit.queue.end(claimed, [Done("Y")], answered=True)
    record = kit.queue.batch_record("1205")
    assert record is not None
    assert record.outcomes["X"].status == "retrying"
    kit.now_ms += 10
    kit.queue.end(kit.take(), [Done("X")], answered=True)
    record = kit.queue.batch_record("1205")
    assert record is not None
    assert record.updated == ["X", "Y"]


def test_what_needs_no_call_is_known_at_once(kit: Kit) -> None:
    current = {s: BatchOutcome("current", "market closed") for s in ("X", "Y")}
    kit.queue.enqueue([], CRITICAL, batch=batch(outcomes=current))
    record = kit.queue.batch_record("1205")
    assert record is not None
    assert record.updated == ["X", "Y"]
    assert record.outcomes["X"] == BatchOutcome("current", "market closed", NOW_MS)
    assert (record.finished_at_ms, record.calls) == (NOW_MS, 0)


def test_a_batch_of_nothing_is_finished(kit: Kit) -> None:
    kit.queue.enqueue([], CRITICAL, batch=batch(assets=()))
    record = kit.queue.batch_record("1205")
    assert record is not None
    assert (record.assets, record.finished_at_ms) == ((), NOW_MS)


def test_a_dead_asset_is_a_failure_of_the_batch(kit: Kit) -> None:
    kit.put("Y")
    kit.queue.end(kit.take(), [Bury("Y", Death.POISON, "boom")], answered=True)
    assert begin(kit).symbols(Outcome.DEAD) == ["Y"]
    kit.queue.end(kit.take(), [Done("X")], answered=True)
    record = kit.queue.batch_record("1205")
    assert record is not None
    assert record.failed == [("Y", "poison: boom")]
    assert record.finished_at_ms == NOW_MS


@pytest.mark.parametrize("reaper", ["reap", "claim"])
def test_poison_is_a_failure_of_its_batch(kit: Kit, reaper: str) -> None:
    """Found by time alone: no worker holds the item then, and its batch ends all the same."""
    begin(kit, assets=("X", "Y"))
    kit.queue.end(kit.take(), [Done("X")], answered=True)
    for _ in range(3):
        assert kit.take().items[0].symbol == "Y"
        kit.now_ms += kit.queue.lease_ms
    getattr(kit.queue, reaper)()
    record = kit.queue.batch_record("1205")
    assert record is not None
    assert record.failed == [("Y", "poison: 3 workers died refreshing it alone")]
    assert record.finished_at_ms == kit.now_ms


@pytest.mark.parametrize("verb", ["complete", "release"])
def test_an_item_that_joins_a_batch_while_leased_ends_in_its_record(kit: Kit, verb: str) -> None:
    kit.policy = limited(limit=None)
    kit.put("X", "Z", at=LOW)
    claimed = kit.take(max_items=2)
    begin(kit)
    if verb == "complete":
        kit.queue.end(claimed, [Done("Z", "c", "e"), Done("X", "c", "e")], answered=True)
        assert kit.redis.xlen(kit.keys.updates) == 2
    else:
        back = [Bury(s, Death.INVALID, "404") for s in ("Z", "X")]
        kit.queue.end(claimed, back, answered=True)
    record = kit.queue.batch_record("1205")
    assert record is not None
    assert record.outcomes["X"].status == ("updated" if verb == "complete" else "failed")
    assert record.calls == 1
    assert kit.queue.size == 1


def test_one_lease_may_end_in_two_records(kit: Kit) -> None:
    kit.policy = limited(limit=None)
    begin(kit, "1205")
    claimed = kit.take(max_items=2)
    kit.queue.enqueue([Request("Y")], CRITICAL, batch=batch("1210", assets=("Y",)))
    with pytest.raises(LeaseLost) as lost:
        kit.queue.end(claimed, [Done("X"), Done("Y"), Done("NEVER")], answered=True)
    assert lost.value.symbols == ["NEVER"]
    old, new = kit.queue.batch_record("1205"), kit.queue.batch_record("1210")
    assert old is not None
    assert new is not None
    assert list(old.outcomes) == ["X"]
    assert list(new.outcomes) == ["Y"]


def test_a_record_that_is_long_gone_is_not_begun_again(kit: Kit) -> None:
    begin(kit, ttl_ms=60_000)
    claimed = kit.take()
    kit.redis.delete(kit.keys.batch_records)  # as its TTL does
    kit.queue.end(claimed, [Done("X")], answered=True)
    assert kit.queue.batch_record("1205") is None
    assert kit.queue.batches(5) == []
    kit.assert_no_leak()


def test_the_batch_plans_the_next_one(kit: Kit) -> None:
    begin(kit)
    status = kit.limiter.status()
    assert (status.batch_at_ms, status.batch_calls) == (NOW_MS + 300_000, 2)


def test_old_slots_leave_the_list(kit: Kit) -> None:
    begin(kit, "1205", ttl_ms=1_000)
    kit.now_ms += 2_000
    begin(kit, "1210", planned_at_ms=kit.now_ms, ttl_ms=1_000)
    assert [r.slot for r in kit.queue.batches(9)] == ["1210"]
    assert kit.redis.zcard(kit.keys.batches) == 1


def test_a_hint_without_work_has_no_wait() -> None:
    assert Hint(now_ms=5).wait_ms is None
    assert Hint(now_ms=5, next_at_ms=3).wait_ms == 0
