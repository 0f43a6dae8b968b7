"""The queue as a story: each test is one rule, and later ones build on earlier ones.

A *call* is one request to the provider. The quota allows two per second here, and the clock stands
still unless a test moves it. The terms are those of docs/glossary.md.
"""

from __future__ import annotations

import pytest

from queueing import (
    Batch,
    Bury,
    Claimed,
    Death,
    Done,
    GiveBack,
    LeaseLost,
    NotNow,
    Outcome,
    Priority,
    PriorityQueue,
    QuotaLimiter,
    Request,
    Retry,
    Verdict,
)

CRITICAL, HIGH = Priority.CRITICAL, Priority.HIGH
MEDIUM, LOW = Priority.MEDIUM, Priority.LOW


def ask(queue: PriorityQueue, *symbols: str, at: Priority = MEDIUM) -> list[Outcome]:
    """Enqueues in one step; what became of each."""
    asked = queue.enqueue([Request(symbol) for symbol in symbols], at)
    return [outcome for _, outcome, _ in asked.results]


def claim(queue: PriorityQueue, max_items: int = 1) -> Claimed:
    """Claims, where a call must be free."""
    claimed = queue.claim(max_items=max_items)
    assert isinstance(claimed, Claimed), claimed
    return claimed


def symbols(claimed: Claimed) -> list[str]:
    return [item.symbol for item in claimed.items]


def clock(queue: PriorityQueue) -> int:
    assert queue.now_ms is not None
    return queue.now_ms


def wait(queue: PriorityQueue, ms: int) -> None:
    """Time passes."""
    queue.now_ms = clock(queue) + ms


# --- what waits, and in which order


def test_what_is_asked_for_waits_in_the_queue(queue: PriorityQueue) -> None:
    assert ask(queue, "GOLD") == [Outcome.ENQUEUED]
    assert [item.symbol for item in queue.peek()] == ["GOLD"]


def test_an_asset_is_queued_at_most_once(queue: PriorityQueue) -> None:
    ask(queue, "GOLD")
    assert ask(queue, "GOLD") == [Outcome.PENDING]
    assert queue.size == 1


def test_first_in_first_out(queue: PriorityQueue) -> None:
    ask(queue, "GOLD", "SILVER", "COPPER")
    assert [item.symbol for item in queue.peek(3)] == ["GOLD", "SILVER", "COPPER"]


def test_a_more_urgent_band_goes_first(queue: PriorityQueue) -> None:
    ask(queue, "COPPER", at=LOW)
    ask(queue, "GOLD", at=CRITICAL)
    ask(queue, "SILVER", at=HIGH)
    assert [item.symbol for item in queue.peek(3)] == ["GOLD", "SILVER", "COPPER"]


def test_asking_again_can_only_raise(queue: PriorityQueue) -> None:
    ask(queue, "COPPER", "GOLD", at=MEDIUM)
    assert ask(queue, "GOLD", at=HIGH) == [Outcome.RAISED]
    assert ask(queue, "GOLD", at=LOW) == [Outcome.PENDING]
    assert [item.symbol for item in queue.peek(2)] == ["GOLD", "COPPER"]


def test_waiting_raises_too(queue: PriorityQueue) -> None:
    """A band per `aging_ms`, so that nothing waits for ever; never up to critical."""
    ask(queue, "COPPER", at=LOW)
    wait(queue, 2 * 60_000)
    ask(queue, "SILVER", at=HIGH)
    assert [item.symbol for item in queue.peek(2)] == ["COPPER", "SILVER"]


# --- claim, lease, end


def test_a_claim_leases_the_most_urgent_to_one_worker(queue: PriorityQueue) -> None:
    ask(queue, "GOLD", "SILVER")
    assert symbols(claim(queue)) == ["GOLD"]
    assert symbols(claim(queue)) == ["SILVER"], "GOLD belongs to the first"


def test_one_call_may_carry_many_items(queue: PriorityQueue) -> None:
    """As a snapshot of 250 assets does: one lease, one permit of the quota."""
    ask(queue, "GOLD", "SILVER", "COPPER")
    assert symbols(claim(queue, max_items=250)) == ["GOLD", "SILVER", "COPPER"]


def test_a_leased_item_is_still_pending(queue: PriorityQueue) -> None:
    ask(queue, "GOLD")
    claim(queue)
    assert ask(queue, "GOLD") == [Outcome.PENDING]


def test_done_frees_the_item_and_publishes_its_event(queue: PriorityQueue) -> None:
    ask(queue, "GOLD")
    done = Done("GOLD", channel="asset:update:GOLD", event='{"price": 4000}')
    queue.end(claim(queue), [done], answered=True)
    assert queue.redis.xlen(queue.keys.updates) == 1
    assert ask(queue, "GOLD") == [Outcome.ENQUEUED], "it may be asked for again"


# --- the quota


def test_a_call_beyond_the_quota_waits_until_a_named_moment(queue: PriorityQueue) -> None:
    ask(queue, "GOLD", "SILVER", "COPPER")
    claim(queue), claim(queue)
    refused = queue.claim()
    assert isinstance(refused, NotNow)
    assert (refused.held_by, refused.hint.wait_ms) == ("window", 100 + 1_000 + 10)
    wait(queue, 100 + 1_000 + 10)
    assert symbols(claim(queue)) == ["COPPER"]


def test_an_answer_ends_the_permit_one_window_later(queue: PriorityQueue) -> None:
    """The request arrived before its answer came, so send budget and delay no longer count."""
    ask(queue, "GOLD", "SILVER", "COPPER")
    first, _ = claim(queue), claim(queue)
    wait(queue, 20)
    hint = queue.end(first, [Done("GOLD")], answered=True)
    assert hint.wait_ms == 1_000 + 10


def test_a_call_without_an_answer_counts_longer(queue: PriorityQueue) -> None:
    """It may have arrived at any time until now."""
    ask(queue, "GOLD", "SILVER", "COPPER")
    first, second = claim(queue), claim(queue)
    wait(queue, 800)
    queue.end(first, [GiveBack("GOLD")], answered=False)
    hint = queue.end(second, [GiveBack("SILVER")], answered=False)
    assert hint.wait_ms == 1_000 + 10


def test_calls_are_kept_free_for_the_next_batch(queue: PriorityQueue) -> None:
    soon_ms = clock(queue) + 500
    limiter = QuotaLimiter(queue.redis, queue.policy, now_ms=queue.now_ms)
    limiter.plan_batch(soon_ms, interval_ms=60_000, calls=2)
    ask(queue, "COPPER", at=LOW)
    refused = queue.claim()
    assert isinstance(refused, NotNow)
    assert refused.held_by == "reserved"
    ask(queue, "GOLD", at=CRITICAL)
    assert symbols(claim(queue)) == ["GOLD"]


def test_after_a_flush_calls_hold_until_the_forgotten_ones_are_over(queue: PriorityQueue) -> None:
    queue.redis.flushall()
    ask(queue, "GOLD")
    refused = queue.claim()
    assert isinstance(refused, NotNow)
    assert (refused.held_by, refused.hint.wait_ms) == ("hold", queue.policy.horizon_ms)


# --- failures


def test_retry_comes_back_after_its_delay_with_an_attempt_counted(queue: PriorityQueue) -> None:
    ask(queue, "GOLD")
    queue.end(claim(queue), [Retry("GOLD", 5_000, LOW, "503")], answered=True)
    assert queue.stats().delayed == 1
    wait(queue, 5_000)
    again = claim(queue).items[0]
    assert (again.symbol, again.attempts, again.last_error) == ("GOLD", 1, "503")


def test_give_back_returns_at_once_and_counts_no_attempt(queue: PriorityQueue) -> None:
    ask(queue, "GOLD", "SILVER")
    queue.end(claim(queue), [GiveBack("GOLD")], answered=True)
    again = claim(queue).items[0]
    assert (again.symbol, again.attempts) == ("GOLD", 0)


def test_bury_makes_a_dead_letter_with_a_reason(queue: PriorityQueue) -> None:
    ask(queue, "GLOD")
    queue.end(claim(queue), [Bury("GLOD", Death.INVALID, "404: no such ticker")], answered=True)
    letter = queue.dead()[0]
    assert (letter.symbol, letter.kind, letter.reason) == (
        "GLOD",
        Death.INVALID,
        "404: no such ticker",
    )
    assert ask(queue, "GLOD") == [Outcome.DEAD], "for a day"
    wait(queue, 24 * 3600 * 1000)
    assert ask(queue, "GLOD") == [Outcome.ENQUEUED]


def test_the_items_of_one_call_end_in_one_step_each_in_its_way(queue: PriorityQueue) -> None:
    ask(queue, "GOLD", "SILVER", "GLOD")
    verdicts: list[Verdict] = [
        Done("GOLD"),
        Retry("SILVER", 5_000, LOW, "no price yet"),
        Bury("GLOD", Death.INVALID, "unknown"),
    ]
    queue.end(claim(queue, max_items=3), verdicts, answered=True)
    stats = queue.stats()
    assert (stats.leased, stats.delayed, stats.dead) == (0, 1, 1)


def test_failed_calls_of_different_items_open_the_circuit_breaker(queue: PriorityQueue) -> None:
    """One bad item alone never does: it spends its attempts, and the others go on."""
    metals = ["GOLD", "SILVER", "COPPER", "ZINC", "TIN", "LEAD"]
    ask(queue, *metals)
    for symbol in metals[:5]:
        back = [Retry(symbol, 60_000, LOW, "no answer")]
        queue.end(claim(queue), back, answered=False, failed=True)
        wait(queue, 2_000)
    refused = queue.claim()
    assert isinstance(refused, NotNow)
    assert refused.held_by == "breaker"


# --- crashes


def test_what_a_dead_worker_held_returns_to_its_old_position(queue: PriorityQueue) -> None:
    ask(queue, "GOLD", "SILVER")
    claim(queue)  # and the worker dies
    wait(queue, 30_000 + 1)
    assert symbols(claim(queue)) == ["GOLD"]


def test_a_worker_that_lost_its_lease_changes_nothing(queue: PriorityQueue) -> None:
    ask(queue, "GOLD")
    late = claim(queue)
    wait(queue, 30_000 + 1)
    claim(queue)
    with pytest.raises(LeaseLost) as lost:
        queue.end(late, [Done("GOLD", channel="asset:update:GOLD", event="{}")], answered=True)
    assert lost.value.symbols == ["GOLD"]
    assert queue.redis.xlen(queue.keys.updates) == 0
    assert queue.stats().leased == 1, "it is the other worker's"


def test_an_item_that_kills_three_workers_is_poison(queue: PriorityQueue) -> None:
    ask(queue, "GOLD")
    for _ in range(3):
        claim(queue)
        wait(queue, 30_000 + 1)
    assert isinstance(queue.claim(), NotNow)
    assert [letter.kind for letter in queue.dead()] == [Death.POISON]


# --- batches, and waiting


def test_a_batch_keeps_a_record_of_each_asset(queue: PriorityQueue) -> None:
    now_ms = clock(queue)
    batch = Batch("1200", now_ms, now_ms + 300_000, 300_000, next_calls=2, assets=("GOLD", "BTC"))
    queue.enqueue([Request("GOLD"), Request("BTC")], CRITICAL, batch=batch)
    queue.end(claim(queue), [Done("GOLD")], answered=True)
    queue.end(claim(queue), [Bury("BTC", Death.TRANSIENT, "503")], answered=True)
    record = queue.batches()[0]
    assert {symbol: outcome.status for symbol, outcome in record.outcomes.items()} == {
        "GOLD": "updated",
        "BTC": "failed",
    }


def test_one_drain_waits_and_is_woken_by_what_comes_sooner(queue: PriorityQueue) -> None:
    ask(queue, "GOLD")
    queue.end(claim(queue), [Retry("GOLD", 60_000, LOW, "503")], answered=True)
    refused = queue.claim(drain="drain-1", max_wait_ms=75_000)
    assert isinstance(refused, NotNow)
    assert refused.hint.waiter, "this drain is the one that waits"
    assert not queue.wait(0.001), "nothing comes sooner"
    ask(queue, "SILVER")
    assert queue.wait(0.001), "woken, although GOLD has time"
