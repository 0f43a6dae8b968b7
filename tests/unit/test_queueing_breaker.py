"""Contract of the breaker: failures in a row stop all calls, one probe decides, nothing is lost.

Five failures open it; probes come after 15 s, 30 s, 60 s, …, 300 s.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import pytest
from redis import Redis

from queueing import (
    Batch,
    Bury,
    Claimed,
    Death,
    Done,
    GiveBack,
    Hint,
    LeaseLost,
    Policy,
    Request,
    Retry,
    split,
)
from tests.kit.queueing import CRITICAL, LOW, Kit, limited

FIRST_MS = 15_000
SYMBOLS = [f"S{number}" for number in range(12)]


@pytest.fixture
def kit(connection: Redis) -> Iterator[Kit]:
    kit = Kit(connection, Policy(limit=None, aging_ms=0))
    kit.put(*SYMBOLS)
    yield kit
    kit.assert_no_leak()


def fail(kit: Kit, claimed: Claimed, text: str = "no answer", **options: bool) -> Hint:
    """The call failed: what the worker asks for is a retry with an attempt."""
    back = [Retry(item.symbol, 60_000, LOW, text) for item in claimed.items]
    return kit.queue.end(claimed, back, answered=False, failed=options.get("failed", True))


def probe_in_ms(kit: Kit) -> int:
    return kit.limiter.status().breaker.probe_at_ms - kit.now_ms


def open_it(kit: Kit) -> None:
    for _ in range(5):
        fail(kit, kit.take())
    assert kit.limiter.status().breaker.open


def test_five_failures_in_a_row_stop_all_calls(kit: Kit) -> None:
    for number in range(4):
        fail(kit, kit.take())
        assert kit.limiter.status().breaker.failures == number + 1
        assert not kit.limiter.status().breaker.open
    hint = fail(kit, kit.take(), "no answer from there")
    assert (hint.reason, hint.wait_ms) == ("breaker", FIRST_MS)
    for at in (CRITICAL, LOW):
        kit.put("XAUUSD", at=at)
        refused = kit.refused()
        assert (refused.reason, refused.wait_ms) == ("breaker", FIRST_MS)
    now = kit.limiter.status()
    assert now.breaker.since_ms == kit.now_ms
    assert now.breaker.probe_at_ms == kit.now_ms + FIRST_MS
    assert now.breaker.reason == "no answer from there"
    assert now.urgent[1] == now.background[1] == "breaker"
    assert kit.queue.stats().hint.reason == "breaker"
    assert now.waits_last_hour == 0
    assert isinstance(kit.limiter.acquire(), Hint)


@pytest.mark.parametrize("proof", ["complete", "release"])
def test_a_success_between_failures_begins_anew(kit: Kit, proof: str) -> None:
    for _ in range(4):
        fail(kit, kit.take())
    good = kit.take()
    if proof == "complete":
        kit.queue.end(good, [Done(good.items[0].symbol)], answered=True)
    else:  # an answer that is no price shows as well that calls work
        fail(kit, good, failed=False)
    assert kit.limiter.status().breaker.failures == 0
    fail(kit, kit.take())
    assert not kit.limiter.status().breaker.open


def test_what_says_nothing_counts_nothing(kit: Kit) -> None:
    for _ in range(10):
        claimed = kit.take()
        kit.queue.end(claimed, [GiveBack(claimed.items[0].symbol)], answered=True)
    assert kit.limiter.status().breaker.failures == 0


def test_one_probe_and_no_second_one_beside_it(kit: Kit) -> None:
    open_it(kit)
    kit.now_ms += FIRST_MS - 1
    assert kit.refused().wait_ms == 1
    kit.now_ms += 1
    probe = kit.take()
    assert kit.limiter.status().breaker.probing
    others = kit.refused()
    assert (others.reason, others.wait_ms) == ("breaker", kit.queue.lease_ms)
    hint = kit.queue.end(probe, [Done(probe.items[0].symbol)], answered=True)
    assert hint.wait_ms == 0
    now = kit.limiter.status().breaker
    assert (now.open, now.failures, now.reason) == (False, 0, None)
    kit.take_symbols(2)


def test_the_most_urgent_item_is_the_probe(kit: Kit) -> None:
    open_it(kit)
    kit.put("XAUUSD", at=CRITICAL)
    kit.now_ms += FIRST_MS
    assert kit.take().items[0].symbol == "XAUUSD"


def test_probes_come_ever_later_up_to_five_minutes(kit: Kit) -> None:
    open_it(kit)
    waits = []
    for _ in range(7):
        wait_ms = probe_in_ms(kit)
        waits.append(wait_ms // 1000)
        kit.now_ms += wait_ms
        fail(kit, kit.take())
    assert waits == [15, 30, 60, 120, 240, 300, 300]
    assert kit.counter("breaker_opened") == 1
    assert kit.counter("probes") == 7
    kit.now_ms += 300_000
    probe = kit.take()
    kit.queue.end(probe, [Done(probe.items[0].symbol)], answered=True)
    open_it(kit)
    assert kit.refused().wait_ms == FIRST_MS, "the next outage begins from the start"


def test_waiting_is_no_error_of_the_items(kit: Kit) -> None:
    """The call that opened it, and calls that were under way, leave their items as they were."""
    late = kit.take()
    before = {s: kit.score(s) for s in SYMBOLS}
    before |= {item.symbol: float(item.score) for item in late.items}
    open_it(kit)
    assert fail(kit, late).reason == "breaker"
    for symbol in ("S0", "S5"):
        item = kit.item(symbol)
        assert (item["attempts"], kit.score(symbol)) == (0, before[symbol])
        assert item["last_error"] == "no answer"
        assert kit.where(symbol) == {"queue", "items", "pending"}
    assert kit.item("S1")["attempts"] == 1, "failures before it opened count"


def test_one_item_alone_opens_nothing(kit: Kit) -> None:
    """However often it fails, and whatever goes well or says nothing in between."""
    for _ in range(15):
        kit.put("BAD", at=CRITICAL)
        claimed = kit.take()
        kit.queue.end(claimed, [GiveBack("BAD", error="500")], answered=True, failed=True)
    now = kit.limiter.status().breaker
    assert (now.open, now.failures) == (False, 1)


@pytest.mark.parametrize("most", [1, 250])
def test_a_probe_that_fails_is_charged_to_its_item_and_the_next_is_another(
    kit: Kit, most: int
) -> None:
    open_it(kit)
    probed = []
    for _ in range(16):
        kit.now_ms += probe_in_ms(kit)
        kit.put("BAD", "WORSE", at=CRITICAL)  # as each batch does: neither waits for its delay
        probe = kit.take(max_items=most)
        probed.append(probe.items[0].symbol)
        assert len(probe.items) == 1
        fail(kit, probe)
    assert probed[:2] == ["BAD", "WORSE"]
    assert len(set(probed[:9])) == 9, "those that have not failed come first"
    assert all(one != other for one, other in pairwise(probed))
    for symbol in ("BAD", "WORSE"):
        assert kit.item(symbol)["attempts"] == probed.count(symbol) > 1


def test_the_only_item_is_probed_again_and_spends_its_attempts(connection: Redis) -> None:
    kit = Kit(connection, Policy(limit=None, breaker_after=1))
    kit.put("ONLY", at=CRITICAL)
    fail(kit, kit.take())
    for attempts in (0, 1, 2):
        kit.now_ms += probe_in_ms(kit)
        kit.put("ONLY", at=CRITICAL)
        probe = kit.take()
        assert probe.items[0].attempts == attempts
        fail(kit, probe)
    kit.now_ms += probe_in_ms(kit)
    kit.put("ONLY", at=CRITICAL)
    probe = kit.take()
    kit.queue.end(probe, [Bury("ONLY", Death.TRANSIENT, "500")], answered=True, failed=True)
    assert kit.where("ONLY") == {"dead", "dead_items"}


def test_a_poisonous_item_at_the_head_does_not_keep_the_breaker_open(kit: Kit) -> None:
    kit.put("BAD", at=CRITICAL)
    open_it(kit)
    kit.now_ms += probe_in_ms(kit)
    first = kit.take()
    fail(kit, first)
    kit.put("BAD", at=CRITICAL)
    kit.now_ms += probe_in_ms(kit)
    second = kit.take()
    assert second.items[0].symbol != first.items[0].symbol
    kit.queue.end(second, [Done(second.items[0].symbol)], answered=True)
    assert not kit.limiter.status().breaker.open


@pytest.mark.parametrize("count", [2, 3, 5, 250])
def test_a_shared_call_is_split_until_the_culprit_is_alone(connection: Redis, count: int) -> None:
    kit = Kit(connection, Policy(limit=None, aging_ms=0))
    names = [f"N{number:03}" for number in range(count)]
    for bad in {names[0], names[count // 2], names[-1]}:
        kit.put(*names)
        failures = 0
        while True:
            claimed = kit.take(max_items=250)
            asked = [item.symbol for item in claimed.items]
            if asked == [bad]:
                break
            if bad in asked:
                failures += 1
                kit.queue.end(claimed, split(claimed, "500"), answered=True, failed=True)
            else:
                kit.queue.end(claimed, [Done(s) for s in asked], answered=True)
        assert failures <= (count - 1).bit_length()
        assert claimed.items[0].attempts == 0, "sharing a call with a failure is no attempt"
        kit.queue.end(claimed, [Done(bad)], answered=True)
        while isinstance(left := kit.queue.claim(max_items=250), Claimed):
            kit.queue.end(left, [Done(item.symbol) for item in left.items], answered=True)
        assert kit.queue.size == 0
        assert not kit.limiter.status().breaker.open


def test_what_the_provider_does_not_know_is_buried_all_the_same(kit: Kit) -> None:
    open_it(kit)
    kit.now_ms += FIRST_MS
    probe = kit.take()
    back = [Bury(i.symbol, Death.INVALID, "unknown") for i in probe.items]
    assert kit.queue.end(probe, back, answered=True, failed=False).wait_ms == 0
    assert "dead" in kit.where(probe.items[0].symbol)


def test_calls_from_before_are_no_news_if_they_fail_and_good_news_if_not(kit: Kit) -> None:
    late, later = kit.take(), kit.take()
    open_it(kit)
    fail(kit, late)
    assert kit.refused().wait_ms == FIRST_MS
    kit.queue.end(later, [Done(later.items[0].symbol)], answered=True)
    assert not kit.limiter.status().breaker.open


def test_a_probe_whose_worker_died_is_given_up_with_its_lease(kit: Kit) -> None:
    open_it(kit)
    kit.now_ms += FIRST_MS
    lost = kit.take()
    kit.now_ms += kit.queue.lease_ms
    second = kit.take()
    fail(kit, second)
    assert probe_in_ms(kit) == 2 * FIRST_MS
    assert kit.limiter.status().breaker.failures == 6
    with pytest.raises(LeaseLost):  # the first one after all: neither opens nor closes anything
        fail(kit, lost)
    assert probe_in_ms(kit) == 2 * FIRST_MS


def test_a_probe_that_was_never_sent_decides_nothing(kit: Kit) -> None:
    open_it(kit)
    kit.now_ms += FIRST_MS
    probe = kit.take()
    back = [GiveBack(probe.items[0].symbol)]
    kit.queue.end(probe, back, answered=False, sent=False)
    assert kit.limiter.status().breaker.open
    assert kit.take().items[0].symbol == probe.items[0].symbol


def test_a_call_of_several_batches_fails_once(kit: Kit) -> None:
    """The items of one call may need several steps, one per batch record."""
    for slot in ("1", "2"):
        batch = Batch(slot, kit.now_ms, kit.now_ms + 300_000, 300_000, 1, (f"B{slot}",))
        kit.queue.enqueue([Request(f"B{slot}")], CRITICAL, batch=batch)
    fail(kit, kit.take(max_items=2))
    assert kit.limiter.status().breaker.failures == 1


def test_a_reset_and_a_clock_that_steps_back(kit: Kit) -> None:
    open_it(kit)
    kit.now_ms -= 3_600_000
    wait_ms = kit.refused().wait_ms
    assert wait_ms == FIRST_MS
    kit.limiter.reset()
    kit.take()


def test_it_can_be_switched_off(connection: Redis) -> None:
    kit = Kit(connection, Policy(limit=None, breaker_after=0))
    kit.put(*SYMBOLS)
    for _ in range(10):
        fail(kit, kit.take())
    assert not kit.limiter.status().breaker.open


def test_a_dead_provider_costs_no_quota(connection: Redis) -> None:
    kit = Kit(connection, limited(limit=3)).known()
    kit.put(*SYMBOLS)
    calls = 0
    for _ in range(600):  # 60 s
        kit.now_ms += 100
        while isinstance(answer := kit.queue.claim(), Claimed):
            calls += 1
            fail(kit, answer)
    assert calls == 5 + 2, "five, and the probes after 15 s and 45 s"
    assert kit.counter("idle_ms") <= calls * 100, "the steps of this clock"


def test_an_outage_is_not_idle_time(connection: Redis) -> None:
    kit = Kit(connection, Policy(limit=100, window_ms=1000, send_ms=100, guard_ms=10)).known()
    kit.put(*SYMBOLS)
    open_it(kit)
    kit.now_ms += FIRST_MS
    probe = kit.take()
    kit.now_ms += 200
    kit.queue.end(probe, [Done(probe.items[0].symbol)], answered=True)
    kit.take()
    assert kit.counter("idle_ms") == 0
