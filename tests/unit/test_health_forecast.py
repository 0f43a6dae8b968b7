"""The forecast says what the scripts then do: it is compared with them under a moved clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from redis import Redis

from health import causes
from health.causes import Level
from health.expected import BATCH, Expected
from health.forecast import BATCH_STARTS_MS, FIRST_ANSWER_MS, forecast
from health.order import Share
from health.outlook import Outlook
from health.waits import Listed, listing
from queueing import Batch, Claimed, Done, GiveBack, Item, Policy, Request, Retry
from tests.kit.queueing import BACKFILL, CRITICAL, HIGH, LOW, MEDIUM, Kit

SPEC = Policy()
MINUTE_MS = 60_000


@pytest.fixture
def kit(connection: Redis) -> Kit:
    return Kit(connection, SPEC).known()


def alone(item: Item) -> Share:
    return Share()


def expected(
    kit: Kit, share_of: Callable[[Item], Share] = alone, most: int = 1
) -> dict[str, Expected]:
    outlook = Outlook(
        kit.limiter.status(), kit.policy, share_of=share_of, batch_share=Share("price", most)
    )
    return forecast(listing(kit.queue, 5000), outlook)


def what_comes(kit: Kit, most: int = 1, batch_at_ms: int | None = None) -> dict[str, int]:
    """Lets one worker make calls until nothing is pending: symbol → when it was taken."""
    taken: dict[str, int] = {}
    while kit.queue.size:
        if batch_at_ms and kit.now_ms >= batch_at_ms + BATCH_STARTS_MS:
            begin_batch(kit, batch_at_ms)
            batch_at_ms += 5 * MINUTE_MS
        answer = kit.queue.claim(max_items=most)
        if isinstance(answer, Claimed):
            for item in answer.items:
                taken.setdefault(item.symbol, kit.now_ms)
            kit.now_ms += FIRST_ANSWER_MS
            kit.queue.end(answer, [Done(item.symbol) for item in answer.items], answered=True)
        else:
            assert answer.hint.next_at_ms is not None
            next_ms = max(answer.hint.next_at_ms, kit.now_ms + 1)
            if batch_at_ms:
                next_ms = min(next_ms, batch_at_ms + BATCH_STARTS_MS)
            kit.now_ms = next_ms
    return taken


def begin_batch(kit: Kit, at_ms: int, calls: int = 3) -> None:
    assets = tuple(f"CRIT{number}" for number in range(calls))
    batch = Batch(str(at_ms), at_ms, at_ms + 5 * MINUTE_MS, 5 * MINUTE_MS, calls, assets)
    kit.queue.enqueue(map(Request, assets), CRITICAL, batch=batch)


def compare(told: dict[str, Expected], came: dict[str, int], slack_ms: int = 50) -> None:
    off = {symbol: (one.at_ms or 0) - came[symbol] for symbol, one in told.items()}
    assert not {symbol: ms for symbol, ms in off.items() if abs(ms) > slack_ms}
    if slack_ms >= FIRST_ANSWER_MS:
        return
    by_rank = sorted(told, key=lambda symbol: told[symbol].rank or 0)
    assert [came[symbol] for symbol in by_rank] == sorted(came[symbol] for symbol in told)


def some(kit: Kit, count: int = 12) -> None:
    for number in range(count):
        kit.put(f"S{number}", at=(HIGH, MEDIUM, LOW, BACKFILL)[number % 4])


def empty_window(kit: Kit) -> None:
    some(kit)


def used_up(kit: Kit) -> None:
    kit.limiter.consume(5)
    kit.now_ms += 20_000
    some(kit)


def answered(kit: Kit) -> None:
    for _ in range(3):
        kit.put("OLD", at=CRITICAL)
        call = kit.take()
        kit.now_ms += FIRST_ANSWER_MS
        kit.queue.end(call, [Done("OLD")], answered=True)
    some(kit)


def held(kit: Kit) -> None:
    kit.redis.hset(kit.keys.quota, "hold_until", kit.now_ms + 40_000)
    some(kit)


def blocked(kit: Kit) -> None:
    kit.limiter.block(90_000, "429: too many calls")
    some(kit)


def delayed(kit: Kit) -> None:
    kit.put("LATER", at=HIGH)
    call = kit.take()
    kit.queue.end(call, [GiveBack("LATER", delay_ms=150_000)], answered=True)
    some(kit)


def aged(kit: Kit) -> None:
    kit.put("OLD0", "OLD1", "OLD2", at=LOW)
    kit.now_ms += SPEC.aging_ms - 90_000
    kit.put(*(f"NEW{number}" for number in range(20)), at=MEDIUM)


def urgent(kit: Kit) -> None:
    kit.put(*(f"C{number}" for number in range(25)), at=CRITICAL)
    some(kit, 8)


def opened(kit: Kit) -> None:
    kit.policy = replace(SPEC, limit=8)
    kit.limiter.reset()
    for number in range(5):
        kit.put(f"F{number}", at=CRITICAL)
        call = kit.take()
        kit.now_ms += FIRST_ANSWER_MS
        retry = Retry(f"F{number}", 60_000, LOW, "503")
        kit.queue.end(call, [retry], answered=True, failed=True)
    some(kit)


SITUATIONS = [empty_window, used_up, answered, held, blocked, delayed, aged, urgent, opened]


@pytest.mark.parametrize("begin", SITUATIONS)
def test_items_are_taken_when_it_was_said(kit: Kit, begin: Callable[[Kit], None]) -> None:
    begin(kit)
    told = expected(kit)
    assert len(told) == kit.queue.size
    # A probe is chosen among those that have not failed, which the forecast does not know.
    compare(told, what_comes(kit), FIRST_ANSWER_MS if begin is opened else 50)


@pytest.mark.parametrize("begin", [used_up, aged])
@pytest.mark.parametrize("in_ms", [30_000, 70_000])
def test_the_calls_of_the_next_batches_are_reckoned_with(
    kit: Kit, begin: Callable[[Kit], None], in_ms: int
) -> None:
    begin(kit)
    batch_at_ms = kit.now_ms + in_ms
    kit.limiter.plan_batch(batch_at_ms, 5 * MINUTE_MS, 3)
    told = expected(kit)
    kit.put("LAST", at=BACKFILL)  # keeps the run going
    compare(told, what_comes(kit, batch_at_ms=batch_at_ms))


def test_items_that_share_a_call_are_taken_together(kit: Kit) -> None:
    kit.limiter.consume(4)
    some(kit, 40)
    kit.queue.enqueue([Request("X/5m", solo=True)], HIGH)

    def share_of(item: Item) -> Share:
        return Share("bars", 1) if item.solo else Share("price", 10)

    told = expected(kit, share_of, most=10)
    came = what_comes(kit, most=10)
    compare(told, came)
    assert len(set(came.values())) == 5


def test_a_batch_whose_assets_share_a_call_is_named_once(kit: Kit) -> None:
    kit.limiter.consume(4)
    some(kit, 40)
    kit.limiter.plan_batch(kit.now_ms + 70_000, 5 * MINUTE_MS, 3)
    freed = [one.freed_by for one in expected(kit, most=10).values() if one.freed_by]
    assert (BATCH,) in [end.symbols for end in freed]


def test_it_is_said_whose_permit_frees_a_call(kit: Kit) -> None:
    kit.limiter.consume(4)
    kit.now_ms += 1_000
    kit.put("EURUSD", at=CRITICAL)
    call = kit.take()
    kit.put("AUDUSD", "NZDUSD", "USDCHF", "USDCAD", "GBPUSD", "USDJPY", at=LOW)
    told = expected(kit)
    assert told["EURUSD"].text(kit.now_ms) == "in work"
    first = told["GBPUSD"]
    assert first.freed_by is not None
    assert first.freed_by.call_id == call.token
    assert first.why() == ("The calls of this window are used up; freed by the permit of EURUSD")
    assert (first.rank, told["USDJPY"].rank) == (5, 6)


@pytest.mark.parametrize(
    ("begin", "key"),
    [
        (used_up, "window"),
        (held, "hold"),
        (blocked, "blocked"),
        (opened, "breaker"),
        (empty_window, None),
    ],
)
def test_the_next_item_is_told_the_cause_in_the_words_of_all(
    kit: Kit, begin: Callable[[Kit], None], key: str | None
) -> None:
    begin(kit)
    first = next(one for one in expected(kit).values() if one.rank == 1)
    assert (first.cause and first.cause.key) == key


def test_what_is_kept_for_the_batch_is_told(kit: Kit) -> None:
    kit.limiter.consume(3)
    kit.limiter.plan_batch(kit.now_ms + 30_000, 5 * MINUTE_MS, 3)
    kit.put("EURUSD", at=LOW)
    cause = expected(kit)["EURUSD"].cause
    assert cause is not None
    assert cause.key == "reserved"


def test_where_no_call_is_made_nothing_is_promised(kit: Kit) -> None:
    kit.put("EURUSD", "GBPUSD")
    cause = causes.no_process("worker", Level.UNHEALTHY, kit.now_ms)
    outlook = replace(Outlook(kit.limiter.status(), SPEC), stopped=cause)
    told = forecast(listing(kit.queue, 10), outlook)
    assert [(one.rank, one.at_ms, one.cause) for one in told.values()] == [
        (1, None, cause),
        (2, None, cause),
    ]


def test_an_item_that_no_call_will_ever_reach_is_promised_nothing(kit: Kit) -> None:
    kit.limiter.plan_batch(kit.now_ms + 1_000, MINUTE_MS // 2, 5)
    kit.limiter.consume(5)
    kit.put("EURUSD", at=BACKFILL)
    assert expected(kit)["EURUSD"].at_ms is None


def test_thousands_of_items_are_forecast_in_a_moment(kit: Kit) -> None:
    items = [
        Item(f"S{number}", {}, 2 + number % 4, kit.now_ms, f"{(2 + number % 4) * 10**13 + number}")
        for number in range(5_000)
    ]
    began_s = time.process_time()
    told = forecast([Listed(item, "queued") for item in items], Outlook(kit.limiter.status(), SPEC))
    assert time.process_time() - began_s < 2
    assert [one.rank for one in told.values() if one.at_ms is None] == []
