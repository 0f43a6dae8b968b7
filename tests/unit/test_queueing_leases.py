"""Contract of claim and of every way in which a lease ends."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from queueing import (
    Bury,
    Claimed,
    Death,
    Done,
    Ending,
    GiveBack,
    Hint,
    InvalidRequest,
    LeaseLost,
    NotNow,
    Request,
    Retry,
    Verdict,
)
from tests.kit.queueing import BACKFILL, BARS, CRITICAL, HIGH, LOW, MEDIUM, NOW_MS, Kit, limited

LEASE_MS = 30_000
DIED = "lease expired: the worker died or was stuck"


@pytest.fixture
def kit(connection: Redis) -> Iterator[Kit]:
    kit = Kit(connection)
    yield kit
    kit.assert_no_leak()


def test_a_claim_leases_the_most_urgent_item(kit: Kit) -> None:
    kit.put("L", at=LOW)
    kit.put("H", at=HIGH)
    claimed = kit.take(who="host:7")
    assert [item.symbol for item in claimed.items] == ["H"]
    assert claimed.token.startswith("host:7:")
    assert claimed.granted_at_ms == NOW_MS
    assert claimed.send_by_ms == NOW_MS + kit.policy.send_ms
    assert claimed.lease_until_ms == NOW_MS + LEASE_MS
    assert kit.where("H") == {"leases", "items", "pending"}
    assert kit.item("H")["token"] == claimed.token
    assert (claimed.hint.next_at_ms, claimed.hint.reason) == (NOW_MS, "free")


def test_nothing_pending_is_empty_and_something_leased_is_a_wait(kit: Kit) -> None:
    hint = kit.refused()
    assert (hint.next_at_ms, hint.reason, hint.wait_ms) == (None, None, None)
    kit.put("A")
    kit.take()
    hint = kit.refused()
    assert (hint.reason, hint.wait_ms) == ("leased", LEASE_MS)


def test_a_delayed_item_is_waited_for(kit: Kit) -> None:
    kit.put("A")
    kit.queue.end(kit.take(), [Retry("A", 700, LOW, "x")], answered=True)
    hint = kit.refused()
    assert (hint.reason, hint.wait_ms) == ("delayed", 700)
    kit.now_ms += 699
    assert isinstance(kit.queue.claim(), NotNow)
    kit.now_ms += 1
    assert kit.take().items[0].symbol == "A"


def test_one_call_can_take_many_items(kit: Kit) -> None:
    kit.put("M", "N", at=MEDIUM)
    kit.put("H", at=HIGH)
    claimed = kit.take(max_items=250)
    assert [item.symbol for item in claimed.items] == ["H", "M", "N"]
    assert kit.item("N")["lease_size"] == 3
    assert kit.counter("granted:2") == 1


@pytest.mark.parametrize("max_items", [0, -1])
def test_a_claim_of_nothing_is_refused(kit: Kit, max_items: int) -> None:
    with pytest.raises(InvalidRequest, match="max_items"):
        kit.queue.claim(max_items=max_items)


def test_complete_publishes_and_forgets_in_one_step(kit: Kit) -> None:
    kit.put("A", "B")
    claimed = kit.take(max_items=2)
    client: Any = kit.redis
    with client.pubsub(ignore_subscribe_messages=True) as listener:
        listener.subscribe("asset:update:A")
        listener.get_message(timeout=1)
        kit.queue.end(
            claimed, [Done("A", "asset:update:A", '{"s":"é\\ud800"}'), Done("B")], answered=True
        )
        heard = listener.get_message(timeout=1)
        assert heard is not None
        assert _text(heard["data"]) == '{"s":"é\\ud800"}'
        assert listener.get_message(timeout=0.01) is None
    (entry,) = client.xrange(kit.keys.updates)
    assert {_text(k): _text(v) for k, v in entry[1].items()} == {
        "event": '{"s":"é\\ud800"}',
    }
    assert kit.where("A") == kit.where("B") == set()
    assert kit.counter("completed") == 2


def test_a_stale_token_can_neither_complete_nor_publish(kit: Kit) -> None:
    kit.put("A")
    stale = kit.take()
    kit.now_ms += LEASE_MS
    fresh = kit.take()
    before = kit.dump()
    with pytest.raises(LeaseLost) as lost:
        kit.queue.end(stale, [Done("A", "c", "e")], answered=True)
    assert lost.value.symbols == ["A"]
    ends: list[Retry | GiveBack | Bury] = [
        Retry("A", 0, LOW, "x"),
        GiveBack("A"),
        Bury("A", Death.POISON, "x"),
    ]
    for back in ends:
        with pytest.raises(LeaseLost):
            kit.queue.end(stale, [back], answered=True)
    with pytest.raises(LeaseLost):
        kit.queue.extend(stale)
    assert kit.dump() == before
    kit.queue.end(fresh, [Done("A", "c", "e")], answered=True)
    assert kit.redis.xlen(kit.keys.updates) == 1
    with pytest.raises(LeaseLost):
        kit.queue.end(fresh, [Done("A", "c", "e")], answered=True)
    assert kit.redis.xlen(kit.keys.updates) == 1


def test_a_lost_item_does_not_take_the_others_along(kit: Kit) -> None:
    kit.put("A", "B")
    claimed = kit.take(max_items=2)
    kit.queue.end(claimed, [GiveBack("A")], answered=True)
    with pytest.raises(LeaseLost) as lost:
        kit.queue.end(claimed, [Done("A", "c", "e"), Done("B", "c", "e")], answered=True)
    assert lost.value.symbols == ["A"]
    assert kit.where("A") == {"queue", "items", "pending"}
    assert kit.where("B") == set()


def test_an_end_claims_what_is_due_in_the_same_step(kit: Kit) -> None:
    kit.put("A", "B", "C")
    first = kit.take(who="d")
    second = kit.queue.end_and_claim(first, [Done("A")], answered=True, who="d", max_items=5)
    assert isinstance(second, Claimed)
    assert [item.symbol for item in second.items] == ["B", "C"]
    assert second.token.startswith("d:")
    assert second.token != first.token
    assert kit.where("A") == set()
    assert kit.where("B") == {"leases", "items", "pending"}
    last = kit.queue.end_and_claim(second, [Done("B"), Done("C")], answered=True)
    assert last == NotNow(Hint(NOW_MS), None)
    assert (kit.counter("completed"), kit.counter("granted:3")) == (3, 2)


def _ended_and_claimed(kit: Kit, first: Claimed, last: Verdict, *, together: bool) -> Hint:
    how: Ending = {"answered": True, "drain": "d", "took_ms": 9}
    if together:
        return kit.queue.end_and_claim(first, [last], **how, max_items=2).hint
    hint = kit.queue.end(first, [last], **how)
    return kit.queue.claim(drain="d", max_items=2).hint if hint.wait_ms == 0 else hint


@pytest.mark.parametrize("limit", [1, 2])
@pytest.mark.parametrize("last", [Done("A"), Retry("A", 700, LOW, "x"), GiveBack("A")])
def test_an_end_that_claims_is_an_end_and_then_a_claim(
    connection: Redis, last: Verdict, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything in Redis is as after the two, also where the quota lets no further call go."""

    def story(together: bool) -> tuple[Hint, dict[str, Any]]:
        connection.flushall()
        kit = Kit(connection, limited(limit=limit)).known()
        tokens = (f"token{n}" for n in range(9))
        monkeypatch.setattr("secrets.token_hex", lambda _: next(tokens))
        kit.put("A", "B")
        first = kit.take(drain="d")
        kit.now_ms += 20
        return _ended_and_claimed(kit, first, last, together=together), kit.dump()

    assert story(together=True) == story(together=False)


def test_an_end_that_closes_the_breaker_claims_with_a_closed_one(
    connection: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def story(together: bool) -> tuple[Hint, dict[str, Any]]:
        connection.flushall()
        kit = Kit(connection, limited(limit=5, breaker_after=1, breaker_first_ms=100)).known()
        tokens = (f"token{n}" for n in range(9))
        monkeypatch.setattr("secrets.token_hex", lambda _: next(tokens))
        kit.put("A", "B", "C", "D")
        kit.queue.end(kit.take(), [Retry("A", 0, LOW, "x")], answered=False, failed=True)
        kit.now_ms += 100
        probe = kit.take()
        kit.now_ms += 20
        return _ended_and_claimed(kit, probe, Done("B"), together=together), kit.dump()

    assert story(together=True) == story(together=False)
    assert connection.hget(Kit(connection).keys.counters, "granted:3") in ("3", b"3")


def test_an_end_whose_lease_is_lost_claims_nothing(kit: Kit) -> None:
    kit.put("A", "B")
    first = kit.take()
    kit.queue.end(first, [Done("A")], answered=True)
    with pytest.raises(LeaseLost):
        kit.queue.end_and_claim(first, [Done("A")], answered=True)
    assert kit.where("B") == {"queue", "items", "pending"}


def test_retry_counts_an_attempt_and_goes_to_the_end_of_its_band(kit: Kit) -> None:
    kit.put("A", at=HIGH)
    kit.put("L", at=LOW)
    claimed = kit.take()
    kit.queue.end(claimed, [Retry("A", 0, LOW, "HTTP 500")], answered=True)
    item = kit.item("A")
    assert (item["attempts"], item["last_error"], item["priority"]) == (1, "HTTP 500", LOW)
    assert "token" not in item
    kit.put("M", at=LOW)
    assert kit.take_symbols(3) == ["L", "A", "M"]


@pytest.mark.parametrize("error", ["\ud800 lone", "nul \x00", "é" * 10, '"\\\n', "x" * 100_000])
def test_whatever_the_error_text_is_the_item_comes_back(kit: Kit, error: str) -> None:
    kit.put("A", "B")
    kit.queue.end(kit.take(), [Retry("A", 1, LOW, error)], answered=True)
    kit.queue.end(kit.take(), [Bury("B", Death.INVALID, error)], answered=True)
    assert kit.where("A") == {"delayed", "items", "pending"}
    assert len(kit.item("A")["last_error"]) <= 1_000
    assert kit.queue.dead()[0].symbol == "B"


def test_bury_ends_an_item(kit: Kit) -> None:
    kit.put("A")
    claimed = kit.take()
    kit.queue.end(claimed, [Bury("A", Death.TRANSIENT, "3 attempts")], answered=True)
    assert kit.where("A") == {"dead", "dead_items"}
    assert kit.counter("buried:transient") == 1
    (letter,) = kit.queue.dead()
    assert (letter.kind, letter.reason, letter.attempts) == (Death.TRANSIENT, "3 attempts", 1)


def test_give_back_keeps_score_and_attempts(kit: Kit) -> None:
    kit.put("A", at=LOW)
    kit.put("B", at=LOW)
    score = kit.score("A")
    kit.now_ms += 1_000
    claimed = kit.take()
    kit.queue.end(claimed, [GiveBack("A")], answered=True)
    assert kit.score("A") == score
    again = kit.take().items[0]
    assert (again.symbol, again.attempts) == ("A", 0)


def test_give_back_within_a_bulk_of_one_millisecond_keeps_its_place(kit: Kit) -> None:
    names = [f"S{n}" for n in range(9)]
    kit.put(*names, at=LOW)
    kit.queue.end(kit.take(), [Done("S0")], answered=True)
    claimed = kit.take(max_items=3)
    kit.queue.end(claimed, [GiveBack(s) for s in ("S3", "S1", "S2")], answered=False)
    assert kit.take_symbols(8) == names[1:]


@pytest.mark.parametrize("way", ["raised", "raised while leased", "retried"])
def test_what_moves_within_one_millisecond_keeps_its_order(kit: Kit, way: str) -> None:
    """A score has more digits than Lua writes by itself; by name the order would be another."""
    names = ["C", "B", "A"]
    kit.put(*names, at=LOW)
    if way == "raised":
        kit.put(*names, at=HIGH)
    else:
        claimed = [kit.take() for _ in names]
        if way == "raised while leased":
            kit.put(*names, at=HIGH)
        for call in claimed:
            symbol = call.items[0].symbol
            back = Retry(symbol, 0, LOW, "x") if way == "retried" else GiveBack(symbol)
            kit.queue.end(call, [back], answered=True)
    assert kit.take_symbols(3) == names


def test_give_back_may_wait_a_while(kit: Kit) -> None:
    kit.put("A", at=HIGH)
    score = kit.score("A")
    kit.queue.end(kit.take(), [GiveBack("A", delay_ms=500, error="429")], answered=True)
    assert kit.where("A") == {"delayed", "items", "pending"}
    kit.now_ms += 500
    kit.queue.reap()
    assert kit.score("A") == score
    assert kit.item("A")["last_error"] == "429"


def test_one_release_ends_each_item_in_its_own_way(kit: Kit) -> None:
    kit.put("A", "B", "C")
    claimed = kit.take(max_items=3)
    back: list[Retry | GiveBack | Bury] = [
        Retry("A", 10, LOW, "x"),
        GiveBack("B"),
        Bury("C", Death.INVALID, "404"),
    ]
    kit.queue.end(claimed, back, answered=True)
    assert "delayed" in kit.where("A")
    assert "queue" in kit.where("B")
    assert "dead" in kit.where("C")


def test_extend_prolongs_the_lease_from_now(kit: Kit) -> None:
    kit.put("A")
    claimed = kit.take()
    kit.now_ms += LEASE_MS - 1
    assert kit.queue.extend(claimed) == kit.now_ms + LEASE_MS
    kit.now_ms += LEASE_MS - 1
    kit.queue.reap()
    assert kit.where("A") == {"leases", "items", "pending"}
    assert kit.queue.extend(claimed, lease_ms=50) == kit.now_ms + 50
    kit.now_ms += 50
    kit.queue.reap()
    with pytest.raises(LeaseLost):
        kit.queue.extend(claimed)


def test_cancel_takes_back_what_nobody_works_on(kit: Kit) -> None:
    kit.put("A", "B", "C", "D")
    kit.take()  # A
    claimed = kit.take()  # B
    kit.queue.end(claimed, [GiveBack("B", delay_ms=1000)], answered=True)
    assert kit.queue.cancel(["A", "B", "C", "unknown"]) == 2
    assert sorted(kit.queue.pending()) == ["A", "D"]
    assert kit.where("A") == {"leases", "items", "pending"}
    assert kit.where("B") == kit.where("C") == set()
    assert kit.put("B") == ["enqueued"]


def test_an_expired_lease_comes_back_with_its_score(kit: Kit) -> None:
    kit.put("A", at=LOW)
    kit.put("B", at=LOW)
    score = kit.score("A")
    kit.take()
    kit.now_ms += LEASE_MS - 1
    assert kit.queue.reap().wait_ms == 0, "B may go at once"
    assert kit.where("A") == {"leases", "items", "pending"}
    kit.now_ms += 1
    kit.queue.reap()
    assert kit.where("A") == {"queue", "items", "pending"}
    assert kit.score("A") == score
    item = kit.item("A")
    assert (item["crashes"], item["attempts"], item["last_error"]) == (1, 0, DIED)
    assert kit.take().items[0].symbol == "A"


def test_a_lease_that_comes_back_in_several_passes_is_one_lost_call(kit: Kit) -> None:
    names = [f"S{n}" for n in range(250)]
    kit.put(*names)
    kit.take(max_items=250)
    kit.now_ms += LEASE_MS
    for _ in range(3):
        kit.queue.reap()
    assert (kit.counter("lost_calls"), kit.counter("reaped")) == (1, 250)
    kit.take()
    kit.now_ms += LEASE_MS
    kit.queue.reap()
    assert kit.counter("lost_calls") == 2


def test_a_lease_of_many_that_expired_sends_each_alone(kit: Kit) -> None:
    kit.put("A", "B", "C")
    kit.take(max_items=3)
    kit.now_ms += LEASE_MS
    kit.queue.reap()
    assert (kit.counter("lost_calls"), kit.counter("reaped")) == (1, 3), "one lease, one call"
    kit.put("D")
    for name in "ABC":
        claimed = kit.take(max_items=3)
        assert [item.symbol for item in claimed.items] == [name]
        assert claimed.items[0].solo
        assert claimed.items[0].crashes == 0, "in company it proves nothing"
    assert [item.symbol for item in kit.take(max_items=3).items] == ["D"]


def test_items_given_back_to_go_alone_do_so(kit: Kit) -> None:
    kit.put("A", "B")
    claimed = kit.take(max_items=2)
    back = [GiveBack("A", solo=True), GiveBack("B", solo=True)]
    kit.queue.end(claimed, back, answered=True)
    for name in "AB":
        assert [item.symbol for item in kit.take(max_items=2).items] == [name]
        assert kit.item(name)["attempts"] == 0


def test_a_lone_suspect_does_not_join_a_lease_of_others(kit: Kit) -> None:
    kit.put("A", "B")
    kit.take(max_items=2)
    kit.put("H", "I", at=HIGH)
    kit.now_ms += LEASE_MS
    assert [item.symbol for item in kit.take(max_items=9).items] == ["H", "I"]
    assert [item.symbol for item in kit.take(max_items=9).items] == ["A"]


def test_three_crashes_alone_are_poison(kit: Kit) -> None:
    kit.put("A")
    for crash in (1, 2):
        kit.take()
        kit.now_ms += LEASE_MS
        kit.queue.reap()
        assert kit.item("A")["crashes"] == crash
    kit.take()
    kit.now_ms += LEASE_MS
    kit.queue.reap()
    assert kit.where("A") == {"dead", "dead_items"}
    (letter,) = kit.queue.dead()
    assert (letter.kind, letter.crashes) == (Death.POISON, 3)
    assert letter.reason == "3 workers died refreshing it alone"
    assert kit.put("A", at=CRITICAL) == ["dead"]


def test_only_crashes_in_a_row_are_poison(kit: Kit) -> None:
    """A retry proves that a worker lived through it: routine kills do not add up over the days."""
    kit.put("A")
    for _ in range(4):
        for _ in range(2):
            kit.take()
            kit.now_ms += LEASE_MS
        assert kit.queue.reap().wait_ms == 0
        kit.queue.end(kit.take(), [Retry("A", 0, LOW, "500")], answered=True)
        assert kit.item("A")["crashes"] == 0
    assert kit.queue.dead() == []


def test_an_urgent_wish_survives_a_crash(kit: Kit) -> None:
    kit.put("A", at=LOW)
    kit.take()
    kit.put("A", at=HIGH)
    kit.now_ms += LEASE_MS
    item = kit.take().items[0]
    assert (item.priority, item.wanted_priority) == (HIGH, None)


def test_reap_takes_a_bounded_number_and_the_rest_later(kit: Kit) -> None:
    names = [f"S{n:03}" for n in range(250)]
    kit.put(*names)
    kit.take(max_items=250)
    kit.now_ms += LEASE_MS
    for left in (150, 50, 0):
        assert kit.queue.reap().wait_ms == 0
        assert kit.queue.stats().leased == left
    assert [item.symbol for item in kit.queue.peek(250)] == names


def test_peek_is_the_order_of_claims_and_changes_nothing(kit: Kit) -> None:
    kit.policy = limited(limit=None, aging_ms=100)
    for n in range(20):
        kit.put(f"S{n}", at=1 + n * 7 % 4)
        kit.now_ms += 37
    before = kit.dump()
    expected = [item.symbol for item in kit.queue.peek(100)]
    assert kit.queue.peek()[0].symbol == expected[0]
    assert kit.dump() == before
    assert kit.take_symbols(20) == expected


def test_stats_count_every_state_and_the_oldest_of_all_bands(kit: Kit) -> None:
    kit.put("L", at=LOW)
    kit.now_ms += 5_000
    kit.put("H", "I", "J", at=HIGH)
    kit.queue.end(kit.take(), [Retry("H", 9, LOW, "x")], answered=True)
    kit.take()
    kit.put("D", at=CRITICAL)
    kit.queue.end(kit.take(), [Bury("D", Death.INVALID, "x")], answered=True)
    before = kit.dump()
    stats = kit.queue.stats()
    assert stats.queued == {CRITICAL: 0, HIGH: 1, MEDIUM: 0, LOW: 1, BARS: 0, BACKFILL: 0}
    assert (stats.delayed, stats.leased, stats.dead, stats.pending) == (1, 1, 1, 4)
    assert stats.oldest_item_age_seconds == 5.0
    assert kit.dump() == before


def test_stats_of_an_empty_queue(kit: Kit) -> None:
    stats = kit.queue.stats()
    assert (stats.pending, stats.oldest_item_age_seconds, stats.hint.reason) == (0, 0.0, None)


@pytest.mark.parametrize("limit", [None, 2])
def test_next_at_reads_only(kit: Kit, limit: int | None) -> None:
    kit.policy = limited(limit=limit)
    kit.put("A", "B", "C")
    for step in (0, 50, 31_000):
        kit.now_ms += step
        before = kit.dump()
        kit.queue.next_at()
        kit.limiter.status()
        kit.limiter.available()
        assert kit.dump() == before
        kit.queue.claim()


def test_next_at_names_the_earliest_event(kit: Kit) -> None:
    kit.put("A", "B")
    kit.take()
    kit.queue.end(kit.take(), [Retry("B", 200, LOW, "x")], answered=True)
    assert (kit.queue.next_at().reason, kit.queue.next_at().wait_ms) == ("delayed", 200)
    kit.put("C")
    assert (kit.queue.next_at().reason, kit.queue.next_at().wait_ms) == ("free", 0)


def test_scripts_flushed_between_two_calls_are_loaded_again(kit: Kit) -> None:
    kit.put("A")
    kit.redis.script_flush()
    claimed = kit.take()
    kit.redis.script_flush()
    kit.queue.end(claimed, [Done("A")], answered=True)
    assert kit.where("A") == set()


@pytest.mark.parametrize(
    "raw",
    [
        "{not json",
        "[]",
        "null",
        "7",
        "{}",
        '{"payload":"{}","priority":2}',
        '{"payload":{},"priority":"HIGH","enqueued_at_ms":null,"attempts":{},"score":[]}',
        *(
            f'{{"payload":"{{}}","priority":2,"enqueued_at_ms":7,{field}}}'
            for field in (
                '"enqueued_at_ms":-1e300',
                '"attempts":1e999',
                '"crashes":nan',
                '"deaths":"x"',
                '"wanted_priority":"x"',
                '"score":"nan"',
                '"score":"7","token":{}',
                '"score":"7","token":"t","batch":["s"]',
            )
        ),
    ],
)
@pytest.mark.parametrize("state", ["queue", "delayed", "leases"])
def test_an_unreadable_item_is_buried_and_holds_up_nothing(kit: Kit, raw: str, state: str) -> None:
    kit.put("BAD", at=HIGH)
    claimed = kit.take() if state != "queue" else None
    if state == "delayed":
        assert claimed
        kit.queue.end(claimed, [Retry("BAD", 10, HIGH, "x")], answered=True)
    kit.put("GOOD", at=LOW)
    kit.redis.hset(kit.keys.items, "BAD", raw)
    kit.queue.peek(9)
    kit.queue.stats()
    if claimed and state == "leases":
        with pytest.raises(LeaseLost):
            kit.queue.end(claimed, [Done("BAD")], answered=True)
    kit.now_ms += LEASE_MS
    seen = [
        item.symbol
        for _ in range(3)
        if not isinstance(c := kit.queue.claim(), NotNow)
        for item in c.items
    ]
    assert seen == ["GOOD"]
    assert kit.where("BAD") == {"dead", "dead_items"}
    (letter,) = kit.queue.dead()
    assert (letter.kind, letter.reason) == (Death.TRANSIENT, "its entry in Redis was unreadable")
    assert kit.put("BAD", at=LOW) == ["enqueued"]


def test_an_item_with_half_a_millisecond_ends_like_any_other(kit: Kit) -> None:
    kit.put("A")
    kit.redis.hset(kit.keys.items, "A", json.dumps(kit.item("A") | {"enqueued_at_ms": 7.5}))
    kit.queue.end(kit.take(), [Done("A")], answered=True)
    assert kit.where("A") == set()


def test_an_unreadable_dead_letter_blocks_nobody(kit: Kit) -> None:
    kit.put("A", "B")
    for _ in range(2):
        claimed = kit.take()
        kit.queue.end(claimed, [Bury(claimed.items[0].symbol, Death.POISON, "x")], answered=True)
    kit.redis.hset(kit.keys.dead_items, "A", "{")
    assert [letter.symbol for letter in kit.queue.dead()] == ["B"]
    assert kit.put("A", "B") == ["enqueued", "dead"]


def test_members_that_no_script_put_there_hold_up_nothing(kit: Kit) -> None:
    kit.redis.zadd(kit.keys.queue, {"STRAY": 3, "LOST": 2e13 + 1, "FAR": 9e13})
    assert kit.queue.peek(5) == []
    for _ in range(3):
        hint = kit.refused()
    assert hint.next_at_ms is None, "nothing to do, and no drain told to look again at once"
    kit.put("A", at=LOW)
    assert kit.take().items[0].symbol == "A"


@pytest.mark.slow
def test_large_amounts_go_in_steps_that_do_not_stop_redis(kit: Kit) -> None:
    kit = Kit(kit.redis, max_size=5_500)
    names = [f"S{n}" for n in range(5_501)]
    assert kit.put(*names) == ["enqueued"] * 5_500 + ["refused"]
    assert [item.symbol for item in kit.queue.peek(9_000)] == names[:5_000]


def test_fields_of_a_newer_version_survive_an_older_worker(kit: Kit) -> None:
    kit.put("A")
    raw = kit.item("A") | {"novelty": "kept"}
    kit.redis.hset(kit.keys.items, "A", json.dumps(raw))
    kit.queue.end(kit.take(), [GiveBack("A")], answered=True)
    assert kit.item("A")["novelty"] == "kept"


def test_requests_can_carry_anything_json_can(kit: Kit) -> None:
    payload = {"big": 2**60, "list": [], "none": None, "deep": {"a": [1.5, "é"]}}
    kit.queue.enqueue([Request("A", payload)])
    assert kit.queue.peek()[0].payload == payload
    kit.queue.end(kit.take(), [GiveBack("A")], answered=True)
    assert kit.take().items[0].payload == payload


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def test_an_item_may_leave_out_what_is_usual(kit: Kit) -> None:
    """The score of a queued one stands in the queue, and goes with it when it leaves."""
    kit.put("A", at=HIGH)
    assert kit.item("A").keys() == {"payload", "priority", "enqueued_at_ms"}
    (listed,), score = kit.queue.peek(), kit.score("A")
    (leased,) = kit.take().items
    assert float(listed.score) == float(leased.score) == score
    assert leased == listed._replace(score=leased.score)
    assert float(kit.item("A")["score"]) == score


def test_beside_workers_of_an_older_version_an_item_leaves_out_nothing(kit: Kit) -> None:
    """They would bury it as unreadable; for an hour after the last of them their key is there."""
    kit.redis.zadd(kit.keys.older_processes, {"worker@host-7": NOW_MS})
    kit.put("A", at=HIGH)
    item = kit.item("A")
    assert (item["attempts"], item["crashes"], float(item["score"])) == (0, 0, kit.score("A"))
    (leased,) = kit.take().items
    assert leased.score == item["score"]
    kit.redis.delete(kit.keys.older_processes)
    kit.put("B")
    assert kit.item("B").keys() == {"payload", "priority", "enqueued_at_ms"}


def test_a_queue_that_was_lost_is_made_anew_without_its_scores(kit: Kit) -> None:
    kit.put("A", at=HIGH)
    kit.redis.delete(kit.keys.queue)
    kit.put("A", at=LOW)
    assert kit.score("A") == 2 * 10**13 + kit.item("A")["enqueued_at_ms"]
