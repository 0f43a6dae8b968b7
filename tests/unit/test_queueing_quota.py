"""Contract of the quota: the limiter alone, and what it makes claims wait for.

The small quota of these tests: 2 calls in 1,000 ms, sent within 100 ms, guard 10 ms, so a call
counts for 1,110 ms unless it is answered, and an answered one for 1,010 ms.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from redis import Redis

from queueing import (
    Batch,
    Bury,
    Claimed,
    Death,
    Done,
    GiveBack,
    Grant,
    Hint,
    NotNow,
    Policy,
    PolicyMismatch,
    Request,
    Retry,
)
from tests.kit.queueing import CRITICAL, HIGH, LOW, MEDIUM, NOW_MS, Kit, limited

UNANSWERED_MS, ANSWERED_MS = 1_110, 1_010


@pytest.fixture
def kit(connection: Redis) -> Iterator[Kit]:
    kit = Kit(connection, limited()).known()
    yield kit
    kit.assert_no_leak()


def acquire(kit: Kit, **options: Any) -> Grant:
    grant = kit.limiter.acquire(**options)
    assert isinstance(grant, Grant), grant
    return grant


def refused(kit: Kit, **options: Any) -> tuple[str | None, int | None]:
    hint = kit.limiter.acquire(**options)
    assert isinstance(hint, Hint), hint
    return hint.reason, hint.wait_ms


def test_an_unanswered_call_counts_for_send_window_and_guard(kit: Kit) -> None:
    grant = acquire(kit)
    assert (grant.granted_at_ms, grant.send_by_ms) == (NOW_MS, NOW_MS + 100)
    acquire(kit)
    assert refused(kit) == ("window", UNANSWERED_MS)
    assert kit.permits() == [UNANSWERED_MS] * 2
    kit.now_ms += UNANSWERED_MS - 1
    assert refused(kit) == ("window", 1)
    kit.now_ms += 1
    acquire(kit)


def test_an_answered_call_counts_for_one_window_from_its_answer(kit: Kit) -> None:
    first, _ = acquire(kit), acquire(kit)
    kit.now_ms += 30
    kit.limiter.release(first)
    assert refused(kit) == ("window", ANSWERED_MS)
    kit.now_ms += ANSWERED_MS
    acquire(kit)
    assert refused(kit) == ("window", UNANSWERED_MS - ANSWERED_MS - 30)


def test_a_late_or_repeated_answer_never_prolongs_nor_revives_a_place(kit: Kit) -> None:
    grant = acquire(kit)
    kit.now_ms += 10
    kit.limiter.release(grant)
    kit.now_ms += 500
    kit.limiter.release(grant)
    assert kit.permits() == [ANSWERED_MS - 500]
    slow = acquire(kit)
    kit.now_ms += 2_000
    kit.limiter.release(slow)
    assert kit.limiter.available() == 2
    acquire(kit)
    acquire(kit)
    kit.limiter.release(slow)
    assert kit.redis.zcard(kit.keys.window) == 2


def test_a_timeout_frees_nothing_earlier(kit: Kit) -> None:
    kit.put("A", at=HIGH)
    claimed = kit.take()
    kit.queue.end(claimed, [Retry("A", 10, LOW, "timeout")], answered=False)
    assert kit.permits() == [UNANSWERED_MS]
    kit.now_ms += 20
    again = kit.take()
    kit.queue.end(again, [GiveBack("A")], answered=True)
    assert kit.permits() == [ANSWERED_MS, UNANSWERED_MS - 20]


def test_available_counts_places_and_the_window_stays_bounded(kit: Kit) -> None:
    assert kit.limiter.available() == 2
    for _ in range(20):
        acquire(kit)
        kit.now_ms += 600
    assert kit.redis.zcard(kit.keys.window) == 2
    kit.now_ms += 600
    assert kit.limiter.available() == 2


def test_claims_and_the_limiter_share_the_quota(kit: Kit) -> None:
    kit.put("A", "B")
    kit.take()
    acquire(kit)
    hint = kit.refused()
    assert (hint.reason, hint.wait_ms) == ("window", UNANSWERED_MS)
    assert kit.counter("waits:window") == 1


def test_consume_counts_calls_made_elsewhere_even_too_many(kit: Kit) -> None:
    assert kit.limiter.consume(3, who="curl") == 3
    assert [permit.who for permit in kit.limiter.status().permits] == ["curl"] * 3
    assert refused(kit) == ("window", ANSWERED_MS)
    kit.now_ms += ANSWERED_MS
    acquire(kit)
    assert kit.redis.zcard(kit.keys.window) == 2, "those that no longer count are forgotten"
    acquire(kit)
    assert refused(kit) == ("window", UNANSWERED_MS)


def test_more_places_than_allowed_wait_for_the_right_one(kit: Kit) -> None:
    """Two must be left of four before one more may go."""
    for _ in range(4):
        kit.limiter.consume()
        kit.now_ms += 100
    assert refused(kit) == ("window", ANSWERED_MS - 200)


def test_block_holds_everybody_back_and_is_not_shortened(kit: Kit) -> None:
    assert kit.limiter.block(500, "429") == NOW_MS + 500
    assert kit.limiter.block(200, "429") == NOW_MS + 500
    assert refused(kit, urgent=True) == ("blocked", 500)
    kit.put("A", at=CRITICAL)
    assert kit.refused().reason == "blocked"
    status = kit.limiter.status()
    assert (status.blocked_until_ms, status.blocked_reason) == (NOW_MS + 500, "429")
    kit.now_ms += 500
    acquire(kit)


def test_a_block_is_lifted_by_hand_and_never_longer_than_a_day(kit: Kit) -> None:
    kit.limiter.block(10**12, "401")
    assert refused(kit) == ("blocked", 24 * 3600 * 1000)
    kit.limiter.block(0, "a new key")
    assert refused(kit)[0] == "blocked"
    kit.limiter.block(0, "a new key", force=True)
    acquire(kit)


def test_reset_forgets_all(kit: Kit) -> None:
    acquire(kit)
    acquire(kit)
    kit.limiter.block(500, "x")
    assert kit.limiter.reset() == 2
    assert kit.limiter.available() == 2
    acquire(kit)


def test_spacing_keeps_grants_apart(kit: Kit) -> None:
    kit.policy = limited(spacing_ms=300)
    acquire(kit)
    assert refused(kit, urgent=True) == ("spacing", 300)
    kit.now_ms += 300
    acquire(kit)


def test_without_a_limit_nothing_is_counted_but_blocks_and_spacing_hold(kit: Kit) -> None:
    kit.policy = limited(limit=None, spacing_ms=5)
    for _ in range(50):
        grant = acquire(kit)
        kit.limiter.release(grant)
        kit.now_ms += 5
    assert kit.redis.zcard(kit.keys.window) == 0
    assert kit.limiter.available() is None
    assert kit.limiter.status().limit is None
    kit.limiter.block(70, "429")
    assert refused(kit) == ("blocked", 70)


def test_a_limit_after_none_waits_for_the_calls_that_were_not_counted(kit: Kit) -> None:
    kit.policy = limited(limit=None)
    kit.limiter.reset()  # takes the quota over for these rules
    acquire(kit)
    kit.policy = limited()
    assert refused(kit) == ("policy", UNANSWERED_MS)
    kit.now_ms += UNANSWERED_MS
    acquire(kit)


# --- the unknown window


def test_a_server_nobody_knows_is_held_for_one_horizon(connection: Redis) -> None:
    kit = Kit(connection, limited())
    kit.put("A", at=CRITICAL)
    assert not kit.limiter.status().epoch_known
    hint = kit.refused()
    assert (hint.reason, hint.wait_ms) == ("hold", UNANSWERED_MS)
    kit.now_ms += UNANSWERED_MS - 1
    assert refused(kit, urgent=True) == ("hold", 1)
    kit.now_ms += 1
    acquire(kit)
    assert kit.counter("holds") == 1


def test_a_flush_is_noticed(kit: Kit) -> None:
    acquire(kit)
    acquire(kit)
    kit.now_ms += 5
    kit.redis.flushall()
    assert refused(kit) == ("hold", UNANSWERED_MS)


def test_another_server_with_the_same_data_is_noticed(kit: Kit) -> None:
    acquire(kit)
    kit.redis.hset(kit.keys.quota, "epoch", "0123456789abcdef")
    assert refused(kit) == ("hold", UNANSWERED_MS)


def test_a_window_that_vanished_alone_is_noticed_once(kit: Kit) -> None:
    acquire(kit)
    kit.now_ms += 50
    kit.redis.delete(kit.keys.window)
    assert refused(kit) == ("hold", UNANSWERED_MS)
    kit.now_ms += UNANSWERED_MS - 1
    assert refused(kit) == ("hold", 1)
    kit.now_ms += 1
    acquire(kit)
    assert kit.counter("holds") == 1


def test_a_call_that_only_others_remember_is_noticed_once(kit: Kit) -> None:
    """A snapshot of the server is restored: the same run_id, and an older memory."""
    acquire(kit)
    before = kit.redis.hget(kit.keys.quota, "last_grant_at")
    kit.now_ms += 50
    lost = acquire(kit)
    kit.put("A")
    newest = (lost.call_id, kit.now_ms)
    kit.redis.zrem(kit.keys.window, lost.call_id)
    kit.redis.hset(kit.keys.quota, "last_grant_at", before or 0)
    kit.now_ms += 50
    for _ in range(2):
        answer = kit.queue.claim(newest_call=newest)
        assert isinstance(answer, NotNow)
        assert answer.held_by == "hold"
    kit.now_ms += UNANSWERED_MS
    assert isinstance(kit.queue.claim(newest_call=newest), Claimed)
    assert kit.counter("holds") == 1


def test_calls_that_are_remembered_over_or_forgotten_by_order_hold_nothing(kit: Kit) -> None:
    grant = acquire(kit)
    newest = (grant.call_id, kit.now_ms)
    kit.put("A", "B", "C")
    assert isinstance(kit.queue.claim(newest_call=newest), Claimed), "it is known"
    kit.limiter.reset()
    assert isinstance(kit.queue.claim(newest_call=newest), Claimed), "an operator said so"
    kit.now_ms += UNANSWERED_MS
    kit.redis.delete(kit.keys.window)
    assert isinstance(kit.queue.claim(newest_call=newest), Claimed), "it counts no more"


def test_a_proof_that_nobody_called_spares_the_hold(connection: Redis) -> None:
    kit = Kit(connection, limited())
    assert isinstance(kit.limiter.acquire(idle_mark=kit.limiter.mark()), Grant)
    acquire(kit)
    assert refused(kit) == ("window", UNANSWERED_MS)
    assert kit.counter("holds") == 0


def test_a_proof_lifts_a_hold_that_another_worker_began(connection: Redis) -> None:
    kit = Kit(connection, limited())
    mark = kit.queue.mark()
    kit.now_ms += 5
    assert refused(kit)[0] == "hold"
    kit.now_ms += 10
    kit.put("A")
    assert kit.take(idle_mark=mark).items


def test_a_proof_does_not_survive_a_flush(connection: Redis) -> None:
    """There may have been calls between the proof and the flush, which forgot those calls."""
    kit = Kit(connection, limited())
    mark = kit.limiter.mark()
    connection.flushall()
    kit.limiter.acquire(idle_mark=mark)
    assert refused(kit)[0] == "hold"


def test_a_proof_does_not_survive_a_restart(connection: Redis) -> None:
    kit = Kit(connection, limited())
    mark = kit.limiter.mark()
    (member,) = connection.zrange(kit.keys.marks, 0, -1)
    text = member.decode() if isinstance(member, bytes) else str(member)
    epoch = text.rpartition(":")[0]
    assert epoch
    connection.delete(kit.keys.marks)
    connection.zadd(kit.keys.marks, {f"another:{mark}": kit.now_ms})
    kit.limiter.acquire(idle_mark=mark)
    assert refused(kit)[0] == "hold"


def test_a_mark_that_was_never_left_proves_nothing(connection: Redis) -> None:
    kit = Kit(connection, limited())
    kit.limiter.acquire(idle_mark="made-up")
    assert refused(kit)[0] == "hold"


def test_a_proof_against_what_is_remembered_proves_nothing(kit: Kit) -> None:
    """A restarted server remembers a grant of the window that is said to have been idle."""
    acquire(kit)
    kit.now_ms += 50
    kit.redis.hset(kit.keys.quota, "epoch", "before-the-restart")
    assert isinstance(kit.limiter.acquire(idle_mark=kit.limiter.mark()), Hint)
    assert isinstance(kit.limiter.acquire(idle_mark=kit.limiter.mark()), Hint), "nor lifts the hold"


def test_a_restart_in_which_nothing_was_lost_spares_the_hold(kit: Kit) -> None:
    acquire(kit)
    kit.redis.hset(kit.keys.quota, "epoch", "the-server-before")
    assert not kit.limiter.resume("another-one")
    assert kit.limiter.resume("the-server-before")
    assert not kit.limiter.resume("the-server-before"), "its books have another owner now"
    acquire(kit)
    assert refused(kit)[0] == "window", "and the calls before it count"
    assert kit.counter("holds") == 0


def test_a_hold_that_stands_outlasts_such_a_restart(connection: Redis) -> None:
    kit = Kit(connection, limited())
    assert refused(kit)[0] == "hold"
    epoch: Any = kit.redis.hget(kit.keys.quota, "epoch")
    assert kit.limiter.resume(epoch.decode() if isinstance(epoch, bytes) else epoch)
    assert refused(kit)[0] == "hold"


# --- a clock that steps

STEPS = [1, 5_000, 70_000, 3_600_000, 24 * 3_600_000, 10**9]


@pytest.mark.parametrize("step_ms", STEPS)
def test_a_permit_keeps_its_length_when_the_clock_steps_back(kit: Kit, step_ms: int) -> None:
    acquire(kit)
    kit.now_ms += 100
    acquire(kit)
    kit.now_ms -= step_ms
    assert refused(kit) == ("window", UNANSWERED_MS - 100)
    status = kit.limiter.status()
    assert status.clock_ahead_ms == step_ms
    assert [permit.until_ms - kit.now_ms for permit in status.permits] == [1_010, 1_110]
    kit.now_ms += UNANSWERED_MS - 101
    assert refused(kit) == ("window", 1)
    kit.now_ms += 1
    acquire(kit)
    assert refused(kit) == ("window", 100)


@pytest.mark.parametrize("step_ms", STEPS)
def test_a_clock_that_goes_wrong_and_back_leaves_every_length(kit: Kit, step_ms: int) -> None:
    """What began while it was wrong ends when it would have."""
    kit.now_ms += step_ms
    acquire(kit)
    if step_ms < UNANSWERED_MS:
        acquire(kit)
    kit.limiter.block(500, "429")
    kit.now_ms -= step_ms
    assert kit.limiter.status().blocked_until_ms == kit.now_ms + 500
    assert refused(kit) == (("window", UNANSWERED_MS) if step_ms < 1_000 else ("blocked", 500))
    kit.now_ms += UNANSWERED_MS
    acquire(kit)


@pytest.mark.parametrize("step_ms", STEPS)
def test_everything_that_waits_keeps_its_length(connection: Redis, step_ms: int) -> None:
    kit = Kit(connection, limited(limit=None, aging_ms=1_000))
    kit.put("A", "B", "OLD", at=LOW)
    kit.queue.end(kit.take(), [Retry("A", 1_000, LOW, "x")], answered=True)
    leased = kit.take()
    kit.now_ms += 100
    kit.queue.reap()
    kit.now_ms -= step_ms
    kit.put("NEW", at=LOW)
    assert [item.symbol for item in kit.queue.peek(9)] == ["OLD", "NEW"], "order of arrival"
    assert kit.queue.stats().oldest_item_age_seconds == pytest.approx(0.1)
    assert kit.now_ms - kit.queue.peek()[0].enqueued_at_ms == 100, "told in Redis' own time"
    kit.take_symbols(2)
    hint = kit.queue.reap()
    assert (hint.reason, hint.wait_ms) == ("delayed", 900)
    kit.now_ms += 900
    again = kit.take()
    assert again.items[0].symbol == "A"
    assert again.lease_until_ms == kit.now_ms + 30_000
    kit.queue.end(again, [Done("A")], answered=True)
    hint = kit.queue.next_at()
    assert (hint.reason, hint.wait_ms) == ("leased", 29_000)
    kit.queue.extend(leased)
    kit.now_ms += 29_100
    assert kit.take().items[0].symbol == "OLD", "the lease of B was prolonged, that of OLD is over"


class Machine:
    """The clock of the machine that runs the scripts, which nobody sets."""

    def __init__(self) -> None:
        self.name, self.up_ms = "here", 5_000

    def arguments(self, now_ms: int | None) -> dict[str, str | int]:
        return {"machine": self.name, "up_ms": self.up_ms}

    def lives(self, kit: Kit, ms: int) -> None:
        """Time passes, and no clock steps."""
        self.up_ms += ms
        kit.now_ms += ms


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine()
    monkeypatch.setattr("queueing.scripts.uptime", machine.arguments)
    return machine


FORWARD = [2_500, 70_000, 3_600_000, 24 * 3_600_000, 10**9]


@pytest.mark.parametrize("step_ms", FORWARD)
def test_a_permit_keeps_its_length_when_the_clock_steps_forward(
    kit: Kit, machine: Machine, step_ms: int
) -> None:
    acquire(kit)
    machine.lives(kit, 100)
    acquire(kit)
    for step in (step_ms, -step_ms, step_ms, step_ms, -2 * step_ms):
        kit.now_ms += step
        assert refused(kit) == ("window", UNANSWERED_MS - 100)
        [first, _] = kit.limiter.status().permits
        assert first.until_ms == kit.now_ms + UNANSWERED_MS - 100, "told in Redis' own time"
    kit.now_ms += step_ms
    machine.lives(kit, UNANSWERED_MS - 101)
    assert refused(kit) == ("window", 1)
    machine.lives(kit, 1)
    acquire(kit)
    assert refused(kit) == ("window", 100)


@pytest.mark.parametrize("step_ms", FORWARD)
def test_everything_that_waits_keeps_its_length_when_the_clock_steps_forward(
    connection: Redis, machine: Machine, step_ms: int
) -> None:
    kit = Kit(connection, limited(limit=None, aging_ms=1_000))
    kit.put("A", "B", at=LOW)
    kit.queue.end(kit.take(), [Retry("A", 60_000, LOW, "x")], answered=True)
    leased = kit.take()
    kit.limiter.block(90_000, "429")
    kit.now_ms += step_ms
    assert kit.queue.reap().reason == "leased"
    assert kit.queue.extend(leased) == kit.now_ms + 30_000
    assert kit.limiter.status().blocked_until_ms == kit.now_ms + 90_000
    kit.put("NEW", at=LOW)
    machine.lives(kit, 30_000)
    assert kit.counter("reaped") == 0
    kit.queue.reap()
    assert (kit.counter("reaped"), kit.where("A")) == (1, {"delayed", "items", "pending"})
    assert kit.queue.stats().oldest_item_age_seconds == pytest.approx(30)
    machine.lives(kit, 30_000)
    kit.queue.reap()
    assert "queue" in kit.where("A")


def test_a_pause_of_everybody_is_no_step(kit: Kit, machine: Machine) -> None:
    acquire(kit)
    acquire(kit)
    machine.lives(kit, 24 * 3_600_000)
    acquire(kit)
    assert kit.limiter.status().clock_ahead_ms == 0


def test_a_late_request_is_no_step(kit: Kit, machine: Machine) -> None:
    acquire(kit)
    acquire(kit)
    kit.now_ms += 1_900  # on its way since; the clock of its machine was read before
    acquire(kit)
    assert kit.limiter.status().clock_ahead_ms == 0


def test_a_machine_that_was_paused_alone_says_nothing(kit: Kit, machine: Machine) -> None:
    """Others have seen that the time passed."""
    acquire(kit)
    acquire(kit)
    paused_ms, machine.name = machine.up_ms, "another"
    for _ in range(60):
        machine.lives(kit, 1_000)
        kit.queue.reap()
    machine.name, machine.up_ms = "here", paused_ms
    kit.now_ms += 1_000
    acquire(kit)
    assert kit.limiter.status().clock_ahead_ms == 0


def test_a_machine_that_is_new_believes_redis(kit: Kit, machine: Machine) -> None:
    acquire(kit)
    acquire(kit)
    machine.name = "new"
    kit.now_ms += 3_600_000
    acquire(kit)


def test_machines_that_are_gone_are_forgotten(kit: Kit, machine: Machine) -> None:
    for number in range(300):
        machine.name = f"node-{number}"
        machine.lives(kit, 1_000)
        kit.queue.reap()
    assert int(kit.redis.hlen(kit.keys.quota)) <= 130


def test_a_hold_keeps_its_length_when_the_clock_steps_back(connection: Redis) -> None:
    kit = Kit(connection, limited())
    kit.limiter.acquire()
    kit.now_ms += 10
    kit.limiter.acquire()
    kit.now_ms -= 10**8
    assert refused(kit) == ("hold", UNANSWERED_MS - 10)
    kit.now_ms += UNANSWERED_MS - 10
    acquire(kit)


def test_spacing_and_blocks_keep_their_length_when_the_clock_steps_back(kit: Kit) -> None:
    kit.policy = limited(spacing_ms=300)
    acquire(kit)
    kit.now_ms -= 10**8
    assert refused(kit) == ("spacing", 300)
    kit.limiter.block(500, "429")
    kit.now_ms -= 10**8
    assert refused(kit) == ("blocked", 500)
    kit.now_ms += 500
    acquire(kit)


def test_a_dead_letter_rests_as_long_whatever_the_clock_does(connection: Redis) -> None:
    kit = Kit(connection)
    kit.put("A")
    kit.queue.end(kit.take(), [Bury("A", Death.INVALID, "404")], answered=True)
    kit.now_ms -= 10**9
    assert kit.put("A") == ["dead"]
    kit.now_ms += 24 * 3_600_000 - 1
    assert kit.put("A") == ["dead"]
    kit.now_ms += 1
    assert kit.put("A") == ["enqueued"]


def test_the_batch_slot_is_a_time_of_redis_own_clock(kit: Kit) -> None:
    kit.now_ms += 3_600_000
    kit.limiter.plan_batch(kit.now_ms + 5_000, 300_000, 2)
    acquire(kit)
    kit.now_ms -= 3_600_000
    kit.limiter.plan_batch(kit.now_ms + 5_000, 300_000, 2)
    assert kit.limiter.status().batch_at_ms == kit.now_ms + 5_000
    kit.now_ms += 4_500
    assert refused(kit)[0] == "reserved"


# --- the rules of the quota


def test_a_process_that_counts_differently_is_refused_by_name(kit: Kit) -> None:
    hour = Kit(kit.redis, limited(window_ms=3_600_000))
    hour.limiter.reset()
    acquire(hour)
    acquire(hour)
    kit.now_ms = hour.now_ms = NOW_MS + 1_500  # its own window would be over
    assert refused(kit)[0] == "policy"
    kit.put("A", at=CRITICAL)
    assert kit.refused().reason == "policy"
    kit.queue.reap()
    assert hour.permits() == [3_600_110 - 1_500] * 2, "nobody else's rules shorten a permit"
    mismatch = kit.limiter.status().mismatch
    assert mismatch is not None
    assert (mismatch.kept.window_ms, mismatch.own.window_ms) == (3_600_000, 1_000)
    for words in ("2 calls per 3600 s", "2 calls per 1 s", "RATE_WINDOW_SECONDS", "limiter reset"):
        assert words in str(mismatch)
    with pytest.raises(PolicyMismatch):
        kit.limiter.consume(1)
    assert hour.limiter.status().mismatch is None
    assert refused(hour)[0] == "window"


def test_new_rules_are_taken_over_when_no_call_of_the_old_ones_counts(kit: Kit) -> None:
    """As after a deploy that changed the plan: the last old process has ended."""
    acquire(kit)
    acquire(kit)
    new = Kit(kit.redis, limited(limit=3))
    assert refused(new) == ("policy", UNANSWERED_MS)
    kit.now_ms = new.now_ms = NOW_MS + UNANSWERED_MS
    for _ in range(3):
        acquire(new)
    assert refused(new)[0] == "window"
    assert refused(kit)[0] == "policy", "an old process that comes back is the stranger now"
    kit.limiter.reset()
    acquire(kit)
    assert refused(new)[0] == "policy", "by hand they are taken over at once"


@pytest.mark.parametrize("other", [{"spacing_ms": 1}, {"aging_ms": 5}, {"tolerance_ms": 7}])
def test_what_counts_alike_is_no_other_policy(kit: Kit, other: dict[str, int]) -> None:
    acquire(kit)
    assert Kit(kit.redis, limited(**other)).limiter.status().mismatch is None


def test_a_deleted_window_is_noticed_before_consume_makes_a_new_one(kit: Kit) -> None:
    acquire(kit)
    kit.now_ms += 50
    kit.redis.delete(kit.keys.window)
    kit.limiter.consume(1)
    assert refused(kit) == ("hold", UNANSWERED_MS)


# --- reservation by look-ahead


@pytest.fixture
def reserving(connection: Redis) -> Kit:
    """3 places, and a batch of 2 calls in 5 s, which may start 50 ms late; given up 200 ms late."""
    kit = Kit(connection, limited(limit=3, tolerance_ms=50)).known()
    kit.limiter.plan_batch(NOW_MS + 5_000, 60_000, 2)
    return kit


def test_far_from_the_batch_everything_may_be_used(reserving: Kit) -> None:
    for _ in range(3):
        acquire(reserving)
    assert refused(reserving)[0] == "window"


def test_a_call_that_is_over_before_the_batch_is_always_free(reserving: Kit) -> None:
    reserving.now_ms += 5_000 + 50 - UNANSWERED_MS
    for _ in range(3):
        acquire(reserving)


def test_near_the_batch_its_calls_are_kept_free(reserving: Kit) -> None:
    reserving.now_ms += 5_000 + 50 - UNANSWERED_MS + 1
    acquire(reserving)
    assert refused(reserving) == ("reserved", UNANSWERED_MS), "until this place is free again"
    assert reserving.limiter.status().background == (NOW_MS + 5_051, "reserved")
    acquire(reserving, urgent=True)
    acquire(reserving, urgent=True)


def test_a_batch_that_is_late_beyond_its_tolerance_keeps_no_more_than_its_calls(
    reserving: Kit,
) -> None:
    reserving.now_ms += 5_000 + 50 - UNANSWERED_MS + 1
    acquire(reserving)
    reserving.now_ms += UNANSWERED_MS
    acquire(reserving)
    at_end = 5_000 + 200 + 1 - (reserving.now_ms - NOW_MS)
    assert refused(reserving) == ("reserved", at_end), "then no batch is expected any more"


def test_an_early_answer_frees_a_place_for_background_work(reserving: Kit) -> None:
    """Places count by when they end: one that ends before the batch costs it nothing."""
    reserving.now_ms += 5_050 - UNANSWERED_MS + 50
    grant = acquire(reserving)
    assert refused(reserving)[0] == "reserved", "it may last until 50 ms after the tolerance"
    reserving.now_ms += 20
    reserving.limiter.release(grant)
    assert reserving.limiter.status().background == (reserving.now_ms, "free")
    acquire(reserving)
    assert refused(reserving)[0] == "reserved"


def test_the_slot_moves_on_with_its_batch_and_not_before(reserving: Kit) -> None:
    reserving.now_ms += 5_000 + 150
    acquire(reserving)
    assert refused(reserving) == ("reserved", 51)
    batch = Batch("1205", NOW_MS + 5_000, NOW_MS + 65_000, 60_000, 2, ("X", "Y"))
    reserving.queue.enqueue([Request("X"), Request("Y")], CRITICAL, batch=batch)
    reserving.put("L", at=LOW)
    assert [reserving.take().items[0].symbol for _ in range(2)] == ["X", "Y"]
    reserving.now_ms += UNANSWERED_MS
    assert reserving.take().items[0].symbol == "L"
    assert reserving.limiter.status().batch_at_ms == NOW_MS + 65_000


def test_a_slot_without_its_batch_is_given_up_after_the_grace(reserving: Kit) -> None:
    reserving.now_ms += 5_200
    acquire(reserving)
    assert refused(reserving) == ("reserved", 1)
    reserving.now_ms += 1
    acquire(reserving)
    acquire(reserving)
    assert reserving.limiter.status().batch_at_ms == NOW_MS + 65_000


@pytest.mark.parametrize("missed", [1, 2, 1_000])
def test_missed_slots_are_skipped_without_a_loop(reserving: Kit, missed: int) -> None:
    reserving.now_ms += 5_201 + 60_000 * (missed - 1)
    assert reserving.limiter.status().batch_at_ms == NOW_MS + 5_000 + 60_000 * missed


def test_no_batch_reserves_nothing(reserving: Kit) -> None:
    reserving.now_ms += 4_990
    reserving.limiter.plan_batch(NOW_MS + 5_000, 60_000, 0)
    for _ in range(3):
        acquire(reserving)
    reserving.now_ms += UNANSWERED_MS
    reserving.limiter.plan_batch(reserving.now_ms + 10, 0, 3)
    for _ in range(3):
        acquire(reserving)


def test_a_batch_larger_than_the_quota_reserves_all_of_it(reserving: Kit) -> None:
    reserving.limiter.plan_batch(NOW_MS + 5_000, 60_000, 7)
    reserving.now_ms += 4_990
    assert refused(reserving)[0] == "reserved"
    for _ in range(3):
        acquire(reserving, urgent=True)


def test_waiting_urgent_work_keeps_background_work_back(reserving: Kit) -> None:
    reserving.limiter.reset()
    reserving.limiter.plan_batch(0, 0, 0)
    for _ in range(3):
        acquire(reserving)
    reserving.put("L", at=LOW)
    reserving.put("X", at=CRITICAL)
    reserving.now_ms += UNANSWERED_MS
    assert reserving.take_symbols(2) == ["X", "L"]


@pytest.mark.slow
@pytest.mark.parametrize("calls", [1, 4, 5, 6, 20, 40])
@pytest.mark.parametrize("limit", [1, 5])
@pytest.mark.parametrize("interval_ms", [1_000, 1_500, 4_000, 5_500, 20_000])
def test_background_work_has_its_share_whatever_the_batch_takes(
    connection: Redis, calls: int, limit: int, interval_ms: int
) -> None:
    """Of 20 calls in a row one at least is for an item that waits: so its wait has a bound."""
    policy = limited(limit=limit, tolerance_ms=100, background_share=20)
    kit = Kit(connection, policy, max_size=1000).known()
    kit.put(*[f"B{n}" for n in range(9)], at=LOW)
    slot, batch, grants = kit.now_ms, 0, list[int]()
    while len(grants) < 90:
        if kit.now_ms >= slot:
            batch += 1
            names = tuple(f"C{n}" for n in range(calls))
            about = Batch(str(batch), slot, slot + interval_ms, interval_ms, calls, names)
            kit.queue.enqueue([Request(name) for name in names], CRITICAL, batch=about)
            slot += interval_ms
        answer = kit.queue.claim()
        if isinstance(answer, Claimed):
            grants.append(answer.items[0].priority)
            symbol = answer.items[0].symbol
            kit.queue.end(answer, [Done(symbol)], answered=True)
            if symbol.startswith("B"):
                kit.put(symbol, at=LOW)  # the queue never runs dry
            continue
        kit.now_ms = min(answer.hint.next_at_ms or slot, max(slot, kit.now_ms + 1))
    background = [at for at, priority in enumerate(grants) if priority != CRITICAL]
    gaps = [later - sooner for sooner, later in pairwise([-1, *background, len(grants)])]
    assert max(gaps) <= 20


def test_a_batch_that_cannot_fit_is_told(kit: Kit) -> None:
    for calls, fits in ((10, True), (11, False)):
        kit.limiter.plan_batch(NOW_MS + 5_000, 5_000, calls)
        assert kit.limiter.status().batch_fits is fits
    # 2.5 windows are 5 calls, interval after interval, though 6 fit behind a free window.
    for interval_ms, most in ((2_500, 5), (1_000, 2), (400, 0), (10_000, 20)):
        for calls in (most, most + 1):
            kit.limiter.plan_batch(NOW_MS + 5_000, interval_ms, calls)
            assert kit.limiter.status().batch_fits is (calls == most)
    kit.limiter.plan_batch(NOW_MS + 5_000, 0, 100)
    assert kit.limiter.status().batch_fits, "no batches"


# --- aging


def test_aging_lifts_a_waiting_item_band_by_band(connection: Redis) -> None:
    kit = Kit(connection, limited(limit=None, aging_ms=1_000))
    kit.put("OLD", at=LOW)
    for age, ahead in ((999, MEDIUM), (1_000, None), (1_999, HIGH), (2_000, None)):
        kit.now_ms = NOW_MS + age
        name = f"N{age}"
        kit.put(name, at=HIGH if age > 1_000 else MEDIUM)
        first = kit.queue.peek()[0].symbol
        assert first == (name if ahead else "OLD"), age
        claimed = kit.take()
        kit.queue.end(claimed, [Done(claimed.items[0].symbol)], answered=True)
        if claimed.items[0].symbol == "OLD":
            kit.queue.end(kit.take(), [Done(name)], answered=True)
            kit.now_ms = NOW_MS
            kit.put("OLD", at=LOW)


def test_aging_never_passes_the_urgent_ones(connection: Redis) -> None:
    kit = Kit(connection, limited(limit=None, aging_ms=1))
    kit.put("OLD", at=LOW)
    kit.now_ms += 10**9
    kit.put("X", at=CRITICAL)
    assert kit.take_symbols(2) == ["X", "OLD"]


def test_ties_go_to_the_oldest_request_not_to_a_band(connection: Redis) -> None:
    kit = Kit(connection, limited(limit=None, aging_ms=1_000))
    kit.put("L", at=LOW)
    kit.now_ms += 1
    kit.put("H", at=HIGH)
    kit.now_ms += 2_000
    assert kit.take_symbols(2) == ["L", "H"]


def test_without_aging_the_bands_are_strict(connection: Redis) -> None:
    kit = Kit(connection, limited(limit=None, aging_ms=0))
    kit.put("L", at=LOW)
    kit.now_ms += 10**9
    kit.put("H", at=HIGH)
    assert kit.take_symbols(2) == ["H", "L"]


@pytest.mark.slow
@pytest.mark.parametrize("retried", [False, True])
def test_nothing_waits_longer_than_the_aging_bound(connection: Redis, retried: bool) -> None:
    """wait <= (p - 2) * aging + N / c, with HIGH work arriving as fast as it is done."""
    aging, step = 1_000, 100  # c = one call each 100 ms
    kit = Kit(connection, limited(limit=None, aging_ms=aging))
    kit.put(*[f"L{n}" for n in range(5)], at=LOW)
    kit.put(*[f"M{n}" for n in range(5)], at=MEDIUM)
    if retried:
        kit.queue.end(kit.take(), [Retry("M0", 0, LOW, "x")], answered=True)
    kit.put(*[f"H{n}" for n in range(10)], at=HIGH)
    total = 20
    gone: dict[str, int] = {}
    for turn in range(200):
        claimed = kit.take()
        symbol = claimed.items[0].symbol
        gone.setdefault(symbol, kit.now_ms - NOW_MS)
        kit.queue.end(claimed, [Done(symbol)], answered=True)
        kit.put(f"N{turn}" if symbol[0] in "ML" else symbol, at=HIGH)
        kit.now_ms += step
    for band, priority in (("M", 3), ("L", 4)):
        waits = [gone[f"{band}{n}"] for n in range(5)]
        assert max(waits) <= (4 if retried else priority - 2) * aging + total * step


# --- what is counted


def test_idle_time_is_counted_only_while_a_call_was_free_for_eligible_work(kit: Kit) -> None:
    kit.put("A", "B", "C", "D")
    kit.take()
    assert kit.counter("idle_ms") == 0
    kit.now_ms += 40
    kit.take()
    assert kit.counter("idle_ms") == 40, "the second place lay idle"
    kit.now_ms += UNANSWERED_MS - 40
    kit.take()
    assert kit.counter("idle_ms") == 40
    kit.now_ms += 40 + 7
    kit.take()
    assert kit.counter("idle_ms") == 47


def test_spacing_blocks_and_reservations_are_not_idle_time(connection: Redis) -> None:
    kit = Kit(connection, limited(limit=3, spacing_ms=30)).known()
    kit.put("A", "B", "C", at=LOW)
    kit.take()
    kit.now_ms += 30
    kit.take()
    kit.limiter.block(70, "429")
    kit.now_ms += 70
    kit.limiter.plan_batch(kit.now_ms + 10, 60_000, 3)
    hint = kit.refused()
    assert hint.reason == "reserved"
    assert hint.wait_ms is not None
    kit.now_ms += hint.wait_ms
    kit.take()
    assert kit.counter("idle_ms") == 0


def test_urgent_calls_that_waited_over_a_second_are_counted(kit: Kit) -> None:
    acquire(kit)
    acquire(kit)
    kit.put("X", at=CRITICAL)
    kit.refused()
    kit.now_ms += UNANSWERED_MS
    kit.take()
    assert kit.limiter.status().waits_last_hour == 1
    kit.put("Y", "Z", at=CRITICAL)
    kit.take()
    kit.refused()
    kit.now_ms += UNANSWERED_MS
    kit.take()
    assert kit.limiter.status().waits_last_hour == 2
    kit.now_ms += 3_600_001
    assert kit.limiter.status().waits_last_hour == 0


def test_status_explains_every_place_and_hold(kit: Kit) -> None:
    kit.put("A", at=LOW)
    claimed = kit.take(who="host:7")
    kit.limiter.block(50, "429")
    status = kit.limiter.status()
    (permit,) = status.permits
    assert (permit.call_id, permit.who) == (claimed.token, "host:7")
    assert permit.until_ms == NOW_MS + UNANSWERED_MS
    assert (status.limit, status.free, status.epoch_known) == (2, 1, True)
    assert status.urgent == (NOW_MS + 50, "blocked")


def test_two_providers_in_one_redis_do_not_disturb_each_other(connection: Redis) -> None:
    from queueing import Keys

    one, two = Kit(connection, limited()), Kit(connection, limited(), keys=Keys("other"))
    one.known()
    two.known()
    one.put("A", at=HIGH)
    two.put("A", at=LOW)
    one.take()
    one.limiter.block(500, "429")
    assert two.take().items[0].priority == LOW
    assert two.limiter.available() == 1


def test_the_real_policy_has_the_documented_horizon() -> None:
    assert Policy().horizon_ms == 65_100
    with pytest.raises(ValueError, match="limit 0"):
        Policy(limit=0)
    with pytest.raises(ValueError, match="spacing_ms"):
        Policy(spacing_ms=-1)


@pytest.mark.parametrize("text", ["", "soon", "inf", "nan", "7.5"])
def test_a_state_that_an_external_writer_spoilt_stops_nothing(kit: Kit, text: str) -> None:
    kit.put("A", at=CRITICAL)
    kit.queue.end(kit.take(), [Done("A")], answered=True)
    told = {"hold_until", "blocked_until", "batch_at", "batch_interval", "batch_calls", "failed"}
    rare = {"open_until", "open_since", "probe_until", "closed_at", "reserved_until", "waiter_at"}
    for name in {*kit.redis.hkeys(kit.keys.quota), *told, *rare, "urgent_run", "answer_ms"}:
        kit.now_ms += 100_000
        kit.put("A", at=CRITICAL)
        kit.redis.hset(kit.keys.quota, name, text)
        kit.limiter.status()
        kit.queue.stats()
        if isinstance(claimed := kit.queue.claim(), NotNow):  # by other rules, or a lost window
            kit.limiter.reset()
            claimed = kit.take()
        kit.queue.end(claimed, [Done("A")], answered=True)
