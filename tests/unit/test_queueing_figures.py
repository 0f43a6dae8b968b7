"""What is counted: each figure means what its name says."""

from __future__ import annotations

import pytest
from redis import Redis

from health.batches import settled
from health.metrics import latency_ms
from queueing import BOUNDS_MS, Batch, Done, Histogram, Policy, Priority, Request, Retry, Verdict
from tests.kit.queueing import CRITICAL, HIGH, LOW, MEDIUM, NOW_MS, Kit

FIVE = ("A", "B", "C", "D", "E")
MINUTE = Policy(limit=5)


@pytest.fixture
def kit(connection: Redis) -> Kit:
    return Kit(connection, MINUTE).known()


def test_five_free_permits_and_five_items_for_ten_seconds_are_fifty_slot_seconds(kit: Kit) -> None:
    kit.put(*FIVE)
    kit.now_ms += 10_000
    for _ in FIVE:
        kit.take()
        kit.now_ms += 1
    assert kit.counter("idle_ms") == 5 * 10_000 + (1 + 2 + 3 + 4)


def test_a_permit_is_not_idle_before_there_is_an_item_for_it(kit: Kit) -> None:
    kit.put("A")
    kit.now_ms += 10_000
    kit.put("B", "C")
    for _ in range(3):
        kit.take()
    assert kit.counter("idle_ms") == 10_000


def test_calls_that_must_keep_a_distance_are_idle_beyond_it_only(connection: Redis) -> None:
    kit = Kit(connection, Policy(limit=5, spacing_ms=2_000)).known()
    kit.put(*FIVE)
    kit.now_ms += 10_000
    for _ in FIVE:
        kit.take()
        kit.now_ms += 2_000
    assert kit.counter("idle_ms") == 5 * 10_000, "each went ten seconds after it could have"


def test_each_urgent_call_that_waited_for_a_permit_is_counted(kit: Kit) -> None:
    kit.put(*FIVE)
    for _ in FIVE:
        kit.take()
    kit.put("V", "W", "X", "Y", "Z", at=CRITICAL)
    kit.now_ms += MINUTE.horizon_ms
    for _ in range(5):
        kit.take()
    assert kit.limiter.status().waits_last_hour == 5


def test_an_urgent_call_that_waited_for_a_worker_only_did_not_wait_for_a_permit(kit: Kit) -> None:
    kit.put("X", at=CRITICAL)
    kit.now_ms += 60_000
    kit.take()
    assert kit.limiter.status().waits_last_hour == 0


@pytest.mark.parametrize("how", ["raised", "retried"])
def test_the_oldest_item_is_found_behind_younger_ones(connection: Redis, how: str) -> None:
    kit = Kit(connection)
    kit.put("OLD", at=HIGH if how == "retried" else LOW)
    kit.now_ms += 3_598_500
    kit.put("NEW")
    if how == "retried":
        kit.queue.end(kit.take(), [Retry("OLD", 1_000, MEDIUM, "HTTP 500")], answered=True)
    kit.now_ms += 1_500
    if how == "raised":
        kit.put("OLD", at=MEDIUM)
    kit.queue.reap()
    assert [item.symbol for item in kit.queue.peek(2)] == ["NEW", "OLD"]
    assert kit.queue.stats().oldest_item_age_seconds == 3_600
    for _ in range(2):
        kit.queue.end(claimed := kit.take(), [Done(claimed.items[0].symbol)], answered=True)
    assert kit.queue.stats().oldest_item_age_seconds == 0
    assert not kit.redis.exists(kit.keys.overtaken), "nothing stays behind"


def test_a_batch_lasts_until_its_last_retry_is_over(connection: Redis) -> None:
    kit = Kit(connection)
    assets = ("X", "Y", "Z")
    batch = Batch("s", NOW_MS, NOW_MS + 300_000, 300_000, 3, assets)
    kit.queue.enqueue([Request(symbol) for symbol in assets], CRITICAL, batch=batch)
    kit.now_ms += 3_200
    for _ in assets:
        claimed = kit.take()
        back = [Retry(claimed.items[0].symbol, 60_000, LOW, "HTTP 500")]
        kit.queue.end(claimed, back, answered=True)
    (record,) = kit.queue.batches()
    assert record.finished_at_ms is None
    assert latency_ms(settled([record])) is None
    kit.now_ms += 61_800
    for _ in assets:
        kit.queue.end(claimed := kit.take(), [Done(claimed.items[0].symbol)], answered=True)
    (record,) = kit.queue.batches()
    assert record.finished_at_ms == NOW_MS + 65_000
    assert latency_ms(settled([record])) == 65_000


@pytest.mark.parametrize("text", ["x", "[7", "1.5", str(2**63 - 1)])
def test_figures_that_an_external_writer_spoilt_stop_nothing(kit: Kit, text: str) -> None:
    """A counter begins anew; a record is read no more."""
    keys, r = kit.keys, kit.redis
    r.hset(keys.counters, mapping=dict.fromkeys(("enqueued", "granted:1", "completed"), text))
    r.hset(keys.timings, mapping=dict.fromkeys(("wait:1:inf", "wait:1:sum", "call:ok:sum"), text))
    for name in ("s", "s:open", "s:calls", "s:outcome:X"):
        batch = Batch("s", NOW_MS, NOW_MS + 300_000, 300_000, 1, ("X",))
        kit.queue.enqueue([Request("X")], CRITICAL, batch=batch)
        r.hset(keys.batch_records, name, text)
        kit.queue.end(kit.take(), [Done("X")], answered=True, took_ms=7)
        assert kit.where("X") == set()
        r.delete(keys.batch_records, keys.batches)
    assert kit.counter("granted:1") == kit.counter("completed") == 4


SOUND = '{"planned_at_ms":1,"started_at_ms":1,"assets":["X"]}'
SPOILT_RECORDS = (
    *("", "x", "7", "null", "[]", "{}", '"t"', "[" * 100_000, "a\x00b", "9" * 5_000),
    SOUND.replace('["X"]', "7"),
    SOUND.replace('["X"]', '"XY"'),
    SOUND.replace('["X"]', '["X",null]'),
    SOUND.replace('["X"]', '{"X":"Y"}'),
    SOUND.replace(":1", ':"soon"'),
    SOUND.replace(":1", ":-1"),
    SOUND.replace(":1", ":1e400"),
    SOUND.replace(":1", f":{10**30}"),
)


def test_a_record_that_an_external_writer_spoilt_is_left_out_and_named_once(
    kit: Kit, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor does it keep the next batch from beginning, which clears old records away."""
    keys, r = kit.keys, kit.redis
    for number, text in enumerate(SPOILT_RECORDS):
        for slot in ("bad", f"good-{number}"):
            kit.queue.enqueue([], batch=Batch(slot, kit.now_ms, 0, 300_000, 1, ("X",)))
        r.hset(keys.batch_records, "bad", text)
        assert [record.slot for record in kit.queue.batches(2)] == [f"good-{number}"], text[:99]
        assert kit.queue.batch_record("bad") is None
        kit.now_ms += Batch.ttl_ms + 1
        kit.queue.enqueue([], batch=Batch("next", kit.now_ms, 0, 300_000, 1, ("X",)))
        assert not r.hexists(keys.batch_records, "bad")
        r.delete(keys.batch_records, keys.batches)
    assert [line.getMessage().split(": ")[0] for line in caplog.records] == [keys.batch_records]


@pytest.mark.parametrize("text", ["", "x", "7", "[7]", "{}", '{"status":"updated","at_ms":"x"}'])
def test_an_outcome_that_an_external_writer_spoilt_is_none(kit: Kit, text: str) -> None:
    kit.queue.enqueue([], batch=Batch("s", NOW_MS, 0, 300_000, 1, ("X", "Y")))
    for name in ("s:outcome:X", "s:calls", "s:first_call_at_ms", "s:finished_at_ms"):
        kit.redis.hset(kit.keys.batch_records, name, text)
    (record,) = kit.queue.batches()
    assert [o.at_ms for o in record.outcomes.values()] == [None] * ("status" in text)


def test_histograms_hold_every_wait_call_and_batch_once(connection: Redis) -> None:
    kit = Kit(connection)
    batch = Batch("s", NOW_MS, NOW_MS + 300_000, 300_000, 2, ("X", "Y"))
    kit.queue.enqueue([Request(symbol) for symbol in ("X", "Y")], CRITICAL, batch=batch)
    kit.put("L", at=LOW)
    kit.now_ms += 1_000
    first = kit.take(max_items=2)
    kit.now_ms += 40
    back: list[Verdict] = [Done("X"), Retry("Y", 30_000, LOW, "HTTP 500")]
    kit.queue.end(first, back, answered=True, took_ms=40)
    kit.queue.end(kit.take(), [Done("L")], answered=True, took_ms=12_000)
    kit.now_ms += 30_000
    second = kit.take()
    kit.queue.end(second, [Retry("Y", 0, LOW, "502")], answered=True, took_ms=51, failed=True)
    kit.queue.end(kit.take(), [Done("Y")], answered=True, sent=False)  # nothing was asked
    found = {(h.name, h.label): h for h in kit.queue.histograms()}
    counts = {name: {b: n for b, n in buckets(h) if n} for name, h in found.items()}
    assert counts == {
        ("wait", "1"): {1_000: 1},
        ("wait", "4"): {5_000: 1},
        ("call", "ok"): {50: 1, None: 1},
        ("call", "failed"): {100: 1},
        ("batch", ""): {60_000: 1},
    }
    assert found["call", "ok"].sum_ms == 12_040
    assert found["batch", ""].sum_ms == 31_040


def buckets(histogram: Histogram) -> list[tuple[int | None, int]]:
    return list(zip([*BOUNDS_MS[histogram.name], None], histogram.counts, strict=True))


def test_histograms_are_bounded_and_leave_out_what_is_not_theirs(kit: Kit) -> None:
    names = {
        "wait": [str(band.value) for band in Priority],
        "call": ["ok", "failed"],
        "batch": [""],
    }
    fields = sum(
        len(BOUNDS_MS[name]) * len(labels) + 2 * len(labels) for name, labels in names.items()
    )
    assert fields <= 110
    kit.redis.hset(kit.keys.timings, mapping={"call:ok:777": 1, "x": 2, "batch::inf": "many"})
    assert kit.queue.histograms() == []
