"""Contract of enqueue, order and size, on fakeredis; tests/integration repeats it on a server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from queueing import Bury, Death, Done, InvalidRequest, Outcome, Priority, Request, Retry
from tests.kit.queueing import BACKFILL, BARS, CRITICAL, HIGH, LOW, MEDIUM, NOW_MS, Kit


@pytest.fixture
def kit(connection: Redis) -> Iterator[Kit]:
    kit = Kit(connection)
    yield kit
    kit.assert_no_leak()


def test_a_new_item_is_queued_with_a_readable_score(kit: Kit) -> None:
    reply = kit.queue.enqueue([Request("XAUUSD", {"feed": "é\ud800 \u0000"})], HIGH)
    assert reply.results == (("XAUUSD", Outcome.ENQUEUED, None),)
    assert reply.size == 1
    assert kit.where("XAUUSD") == {"queue", "items", "pending"}
    assert kit.score("XAUUSD") == 2 * 10**13 + NOW_MS
    item = kit.take().items[0]
    assert item.payload == {"feed": "é\ud800 \u0000"}
    assert (item.priority, item.attempts, item.crashes, item.enqueued_at_ms) == (2, 0, 0, NOW_MS)


def test_a_pending_item_stays_where_it_is_when_asked_with_less_urgency(kit: Kit) -> None:
    kit.put("A", at=HIGH)
    before = kit.score("A")
    kit.now_ms += 5
    assert kit.put("A", at=HIGH) == ["pending"]
    assert kit.put("A", at=LOW) == ["pending"]
    assert kit.score("A") == before
    assert kit.queue.size == 1


def test_more_urgency_raises_a_queued_item_to_the_end_of_its_new_band(kit: Kit) -> None:
    kit.put("H", at=HIGH)
    kit.put("A", at=LOW)
    assert kit.put("A", at=HIGH) == ["raised"]
    kit.put("I", at=HIGH)
    assert kit.item("A")["enqueued_at_ms"] == NOW_MS
    assert kit.take_symbols(3) == ["H", "A", "I"]


def test_the_same_symbol_twice_in_one_bulk_is_queued_once(kit: Kit) -> None:
    assert kit.put("A", "A", at=HIGH) == ["enqueued", "pending"]
    assert kit.queue.size == 1


@pytest.mark.parametrize("standing", [LOW, CRITICAL])
def test_a_critical_request_does_not_wait_for_a_delay(kit: Kit, standing: Priority) -> None:
    kit.put("A", at=standing)
    claimed = kit.take()
    kit.queue.end(claimed, [Retry("A", 60_000, standing, "x")], answered=True)
    assert kit.where("A") == {"delayed", "items", "pending"}
    assert kit.put("A", at=CRITICAL) == ["raised" if standing == LOW else "pending"]
    assert kit.where("A") == {"queue", "items", "pending"}
    assert kit.take().items[0].priority == CRITICAL


def test_a_high_request_raises_a_delayed_item_but_leaves_its_delay(kit: Kit) -> None:
    kit.put("A", at=LOW)
    kit.queue.end(kit.take(), [Retry("A", 1_000, LOW, "x")], answered=True)
    assert kit.put("A", at=HIGH) == ["raised"]
    assert kit.where("A") == {"delayed", "items", "pending"}
    kit.now_ms += 1_000
    assert kit.take().items[0].priority == HIGH


def test_urgency_wished_for_a_leased_item_counts_when_it_comes_back(kit: Kit) -> None:
    kit.put("A", at=LOW)
    claimed = kit.take()
    assert kit.put("A", at=MEDIUM) == ["raised"]
    assert kit.put("A", at=HIGH) == ["raised"]
    assert kit.put("A", at=MEDIUM) == ["pending"]
    assert kit.item("A")["wanted_priority"] == HIGH
    assert kit.where("A") == {"leases", "items", "pending"}
    kit.put("H", at=HIGH)
    kit.queue.end(claimed, [Retry("A", 0, LOW, "x")], answered=True)
    assert "wanted_priority" not in kit.item("A")
    kit.put("B", at=MEDIUM)
    # its place among HIGH is that of the request, made before H came
    assert kit.take_symbols(3) == ["A", "H", "B"]


def test_a_refreshed_item_forgets_the_urgency_wished_for_it(kit: Kit) -> None:
    kit.put("A", at=LOW)
    claimed = kit.take()
    kit.put("A", at=CRITICAL)
    kit.queue.end(claimed, [], answered=True)
    kit.queue.end(claimed, [_done("A")], answered=True)
    assert kit.where("A") == set()
    assert kit.put("A", at=LOW) == ["enqueued"]
    assert kit.take().items[0].priority == LOW


def test_a_full_queue_refuses_new_items_by_name_and_no_others(connection: Redis) -> None:
    kit = Kit(connection, max_size=2)
    kit.put("A", "B", at=LOW)
    assert kit.put("B", "C", "D", at=HIGH) == ["raised", "refused", "refused"]
    reply = kit.queue.enqueue([Request("C")], HIGH)
    assert reply.symbols(Outcome.REFUSED) == ["C"]
    assert reply.results[0][2] == "the queue is full (2)"
    assert kit.counter("refused") == 3
    assert kit.where("C") == set()


def test_critical_retried_and_reaped_items_never_fail_for_space(connection: Redis) -> None:
    kit = Kit(connection, max_size=1)
    kit.put("A", at=LOW)
    claimed = kit.take()
    assert kit.put("X", "Y", at=CRITICAL) == ["enqueued", "enqueued"]
    kit.queue.end(claimed, [Retry("A", 10, LOW, "x")], answered=True)
    kit.take()
    kit.now_ms += 30_000
    kit.queue.reap()
    assert kit.queue.stats().queued == {
        CRITICAL: 2,
        HIGH: 0,
        MEDIUM: 0,
        LOW: 1,
        BARS: 0,
        BACKFILL: 0,
    }


def test_delayed_and_leased_items_count_towards_the_size(connection: Redis) -> None:
    kit = Kit(connection, max_size=2)
    kit.put("A", "B", at=LOW)
    kit.queue.end(kit.take(), [Retry("A", 10_000, LOW, "x")], answered=True)
    kit.take()
    assert kit.put("C", at=LOW) == ["refused"]
    assert kit.queue.size == 2


@pytest.mark.parametrize("symbol", ["", "A B", "A\n", "é", "A" * 65, "{x}", "A\x00"])
def test_a_malformed_symbol_is_refused_before_anything_is_done(kit: Kit, symbol: str) -> None:
    with pytest.raises(InvalidRequest, match="symbol"):
        kit.queue.enqueue([Request("GOOD"), Request(symbol)])
    assert kit.dump() == {}


@pytest.mark.parametrize("priority", [0, 7, 9, -1])
def test_an_unknown_priority_is_refused_before_anything_is_done(kit: Kit, priority: int) -> None:
    with pytest.raises(InvalidRequest, match=f"priority {priority}"):
        kit.queue.enqueue([Request("A")], priority)
    kit.put("A")
    claimed = kit.take()
    with pytest.raises(InvalidRequest, match=f"priority {priority}"):
        kit.queue.end(claimed, [Retry("A", 0, priority, "x")], answered=True)
    assert kit.where("A") == {"leases", "items", "pending"}


def test_an_empty_enqueue_is_no_error(kit: Kit) -> None:
    assert kit.queue.enqueue([]).results == ()
    assert kit.queue.peek() == []


@pytest.mark.parametrize("kind", list(Death))
def test_each_kind_of_death_has_its_own_way_back(kit: Kit, kind: Death) -> None:
    kit.put("A", at=LOW)
    kit.queue.end(kit.take(), [Bury("A", kind, "no such thing")], answered=True)
    assert kit.where("A") == {"dead", "dead_items"}
    at_once = kit.put("A", at=LOW)
    assert at_once == ["enqueued" if kind == Death.TRANSIENT else "dead"]
    if kind == Death.TRANSIENT:
        return
    _, _, detail = kit.queue.enqueue([Request("A")], CRITICAL).results[0]
    assert detail == f"{kind.value}: no such thing"
    kit.now_ms += 24 * 3600 * 1000 - 1
    assert kit.put("A") == ["dead"]
    kit.now_ms += 1
    assert kit.put("A") == ["enqueued" if kind == Death.INVALID else "dead"]


def test_an_item_that_keeps_dying_rests_ever_longer_with_one_attempt_each(kit: Kit) -> None:
    """So that one that the provider cannot serve costs a handful of calls a day."""
    kit.put("BAD", at=CRITICAL)
    kit.queue.end(kit.take(), [Bury("BAD", Death.TRANSIENT, "500")], answered=True)
    calls, rests = 0, []
    for _ in range(24 * 60 // 5):  # a batch every five minutes of a day
        asked = kit.put("BAD", at=CRITICAL)
        (letter,) = kit.queue.dead()
        until = kit.queue.rests_until_ms(letter)
        assert until is not None
        assert asked == ["dead" if until > kit.now_ms else "enqueued"]
        if asked == ["enqueued"]:
            calls += 1
            claimed = kit.take()
            back = Retry("BAD", 60_000, LOW, "500")
            kit.queue.end(claimed, [back], answered=True)
            (letter,) = kit.queue.dead()
            rests.append((kit.queue.rests_until_ms(letter) or 0) - kit.now_ms)
        kit.now_ms += 300_000
    minutes = [rest // 60_000 for rest in rests]
    assert (minutes[:6], set(minutes[6:]), calls) == ([5, 10, 20, 40, 60, 60], {60}, 27)
    kit.now_ms += 3_600_000
    kit.put("BAD", at=CRITICAL)
    kit.queue.end(kit.take(), [_done("BAD")], answered=True)
    kit.put("BAD")
    kit.queue.end(kit.take(), [Retry("BAD", 0, LOW, "500")], answered=True)
    assert "queue" in kit.where("BAD"), "a refresh in between forgives"


@pytest.mark.parametrize("kind", list(Death))
def test_revive_brings_back_any_dead_item_by_hand(kit: Kit, kind: Death) -> None:
    kit.put("A", at=LOW)
    kit.queue.end(kit.take(), [Bury("A", kind, "x")], answered=True)
    assert kit.put("A", revive=True) == ["enqueued"]
    kit.queue.end(kit.take(), [_done("A")], answered=True)
    assert kit.where("A") == set(), "success clears the dead letter"
    assert kit.queue.dead() == []


def test_dead_letters_tell_their_story_and_can_be_dropped(kit: Kit) -> None:
    kit.queue.enqueue([Request("A", {"n": 1}), Request("B")], HIGH)
    kit.queue.end(kit.take(), [Bury("A", Death.INVALID, "404")], answered=True)
    kit.now_ms += 1
    kit.queue.end(kit.take(), [Bury("B", Death.POISON, "boom")], answered=True)
    first, second = kit.queue.dead()
    assert (first.symbol, first.kind, first.reason, first.payload) == (
        "A",
        Death.INVALID,
        "404",
        {"n": 1},
    )
    assert (first.died_at_ms, first.attempts, first.priority) == (NOW_MS, 1, HIGH)
    assert second.symbol == "B"
    assert kit.queue.drop_dead(["A", "Z"]) == 1
    assert [letter.symbol for letter in kit.queue.dead()] == ["B"]
    assert kit.put("A") == ["enqueued"]


def test_order_is_first_in_first_out_within_one_millisecond_and_one_bulk(kit: Kit) -> None:
    names = [f"S{n}" for n in range(200, 0, -1)]
    kit.put(*names[:100], at=LOW)
    kit.put(*names[100:], at=LOW)
    rows: Any = kit.redis.zrange(kit.keys.queue, 0, -1, withscores=True)
    assert len({score for _, score in rows}) == 200
    assert [item.symbol for item in kit.queue.peek(200)] == names
    assert kit.take_symbols(200) == names


def test_order_holds_while_the_scores_run_ahead_of_the_clock(kit: Kit) -> None:
    kit.put(*[f"A{n}" for n in range(300)], at=LOW)  # 300/128 ms: the score is 2 ms ahead
    kit.now_ms += 1
    kit.put("B", at=LOW)
    kit.now_ms += 5
    kit.put("C", at=LOW)
    assert [item.symbol for item in kit.queue.peek(302)][-3:] == ["A299", "B", "C"]
    assert kit.item("B")["enqueued_at_ms"] == NOW_MS + 1


def test_order_holds_when_the_clock_steps_back(kit: Kit) -> None:
    kit.put("A", at=LOW)
    kit.now_ms -= 3_600_000
    kit.put("B", at=LOW)
    kit.now_ms += 60_000
    kit.put("C", at=LOW)
    assert kit.take_symbols(3) == ["A", "B", "C"]


def test_bands_go_before_arrival(kit: Kit) -> None:
    for priority in (LOW, MEDIUM, HIGH, CRITICAL):
        kit.put(f"P{priority}", at=priority)
        kit.now_ms += 1
    assert kit.take_symbols(4) == ["P1", "P2", "P3", "P4"]


def test_a_lost_item_does_not_block_its_symbol(kit: Kit) -> None:
    kit.put("A", "B", at=LOW)
    kit.redis.hdel(kit.keys.items, "A")
    assert kit.put("A", at=LOW) == ["enqueued"]
    assert kit.take_symbols(2) == ["B", "A"]


def test_a_lost_queue_heals_with_the_next_request(kit: Kit) -> None:
    """The ZSET vanished (an eviction, a hand): what is asked for again runs again."""
    kit.put("A", "B", at=LOW)
    leased = kit.take()
    kit.redis.delete(kit.keys.queue)
    assert kit.put("A", "B", at=LOW) == ["pending", "pending"]
    assert leased.items[0].symbol == "A"
    assert kit.take().items[0].symbol == "B"
    assert kit.queue.next_at().reason == "leased"


def _done(symbol: str) -> Done:
    return Done(symbol, f"asset:update:{symbol}", "{}")
