"""Workers of two versions during a deploy: no item is misread, none is lost."""

from __future__ import annotations

import json
from typing import Any

import pytest
import redis

from queueing import (
    Bury,
    Claimed,
    Death,
    GiveBack,
    NotNow,
    Policy,
    PriorityQueue,
    QuotaLimiter,
    Request,
)
from tests.kit.worker import Site, sandbox, settings_for


class NewerQueue(PriorityQueue):
    """As the next version may be: its payloads mean something else."""

    item_version = 2


@pytest.fixture
def old(r: redis.Redis) -> PriorityQueue:
    return PriorityQueue(r, Policy(limit=5, window_ms=60_000))


@pytest.fixture
def new(r: redis.Redis) -> NewerQueue:
    return NewerQueue(r, Policy(limit=5, window_ms=60_000))


def _settle(old: PriorityQueue) -> None:
    """A server that knows nothing of earlier calls holds the first one back; not this one."""
    old.claim(idle_mark=old.mark())


def _claimed(answer: Claimed | NotNow) -> list[str]:
    assert isinstance(answer, Claimed), answer
    return [item.symbol for item in answer.items]


def test_an_old_worker_takes_what_it_knows_and_leaves_the_rest_untouched(
    old: PriorityQueue, new: NewerQueue
) -> None:
    _settle(old)
    new.enqueue([Request("NEW", {"tickers": ["C:EURUSD"]})], 1)
    old.enqueue([Request("OLD", {"ticker": "C:EURUSD"}), Request("OLD2")], 3)
    before = old.redis.hget(old.keys.items, "NEW")
    assert _claimed(old.claim()) == ["OLD"]
    assert _claimed(old.claim(max_items=5)) == ["OLD2"]
    assert old.redis.hget(old.keys.items, "NEW") == before
    assert _claimed(new.claim(max_items=5)) == ["NEW"]


def test_an_old_worker_finds_its_items_behind_many_newer_ones(
    old: PriorityQueue, new: NewerQueue
) -> None:
    _settle(old)
    new.enqueue([Request(f"NEW{n}") for n in range(100)], 2)
    old.enqueue([Request("OLD")], 2)
    assert _claimed(old.claim()) == ["OLD"]


def test_newer_items_alone_cost_no_call_and_no_crash_and_no_circle(
    old: PriorityQueue, new: NewerQueue
) -> None:
    _settle(old)
    new.enqueue([Request("NEW")], 1)
    answer = old.claim(drain="d", max_wait_ms=1000)
    assert isinstance(answer, NotNow)
    assert answer.hint.reason == "version"
    assert answer.hint.wait_ms
    assert not answer.hint.waiter  # else newer drains would leave the next call to it
    assert old.redis.zcard(old.keys.window) == 0
    (item,) = new.peek()
    assert (item.attempts, item.crashes, item.version) == (0, 0, 2)


def test_an_old_worker_is_told_when_its_own_item_may_go(
    old: PriorityQueue, new: NewerQueue
) -> None:
    """Not when the critical one may, which it does not know: that would be now, again and again."""
    _settle(old)
    seconds, _ = old.redis.time()
    batch_at_ms = (int(seconds) + 30) * 1000
    QuotaLimiter(old.redis, old.policy).plan_batch(batch_at_ms, 300_000, 5)
    new.enqueue([Request("NEW")], 1)
    old.enqueue([Request("OLD")], 4)
    answer = old.claim(drain="d", max_wait_ms=600_000)
    assert isinstance(answer, NotNow)
    assert answer.held_by == answer.hint.reason == "reserved"
    assert answer.hint.next_at_ms is not None
    assert answer.hint.next_at_ms > batch_at_ms
    assert answer.hint.waiter


def test_a_new_worker_takes_old_items(old: PriorityQueue, new: NewerQueue) -> None:
    _settle(old)
    old.enqueue([Request("OLD", {"ticker": "C:EURUSD"})], 3)
    answer = new.claim()
    assert isinstance(answer, Claimed)
    assert answer.items[0].version == 1


def test_fields_that_only_newer_workers_know_survive_the_work_of_old_ones(
    old: PriorityQueue,
) -> None:
    _settle(old)
    old.enqueue([Request("EURUSD", {"ticker": "C:EURUSD", "hint": "x"})], 3)
    raw: dict[str, Any] = json.loads(old.redis.hget(old.keys.items, "EURUSD") or "")
    raw |= {"region": "eu", "seen_at_ms": 1795491980123, "more": {"a": "b"}}
    old.redis.hset(old.keys.items, "EURUSD", json.dumps(raw))
    claimed = old.claim()
    assert isinstance(claimed, Claimed)
    assert claimed.items[0].payload == {"ticker": "C:EURUSD", "hint": "x"}
    old.enqueue([Request("EURUSD")], 1)
    old.end(claimed, [GiveBack("EURUSD")], answered=True)
    kept = json.loads(old.redis.hget(old.keys.items, "EURUSD") or "")
    for name in ("region", "seen_at_ms", "more", "payload"):
        assert kept[name] == raw[name]
    assert kept["priority"] == 1


def test_a_dead_letter_remembers_its_version(old: PriorityQueue, new: NewerQueue) -> None:
    _settle(old)
    new.enqueue([Request("NEW", {"other": 1})], 3)
    claimed = new.claim()
    assert isinstance(claimed, Claimed)
    new.end(claimed, [Bury("NEW", Death.TRANSIENT, "x")], answered=True)
    (letter,) = old.dead()
    assert letter.version == 2


def test_an_old_drain_refreshes_its_own_and_leaves(redis_url: str, migrated_url: str) -> None:
    with (
        sandbox() as provider,
        Site.open(settings_for(redis_url, migrated_url, provider.url)) as site,
    ):
        context = site.context
        newer = NewerQueue(context.redis, context.queue.policy, keys=context.keys)
        newer.enqueue([Request("BTCUSD", {"tickers": ["X:BTCUSD"]})], 1)
        site.ask("EURUSD", "GBPUSD")
        drained = site.drain().run()
        assert (drained.calls, drained.ended) == (1, "version")
        assert site.where("EURUSD") == site.where("GBPUSD") == "nowhere"
        assert site.where("BTCUSD") == "queue"
        assert not site.ticks.waiting("drain")


def test_an_old_drain_makes_no_circle_while_calls_are_kept_for_the_batch(
    redis_url: str, migrated_url: str
) -> None:
    """The critical item that may go is of a newer version; its own item may not go yet."""
    given = settings_for(redis_url, migrated_url, "http://127.0.0.1:1", polygon_rate_limit=5)
    with Site.open(given) as site:
        context = site.context
        context.limiter.reset()
        context.limiter.plan_batch(context.redis_now_ms() + 30_000, 300_000, 5)
        newer = NewerQueue(context.redis, context.queue.policy, keys=context.keys)
        newer.enqueue([Request("BTCUSD", {"tickers": ["X:BTCUSD"]})], 1)
        site.ask("EURUSD", at=4)
        context.redis.config_resetstat()
        drained = site.drain(slice_s=0.5).run()
        stats: Any = context.redis.info("commandstats")
        assert drained.calls == 0
        assert stats["cmdstat_evalsha"]["calls"] < 20
        assert context.queue.stats().hint.reason in ("reserved", "free")
