"""The rules of health, one by one, on facts made by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from health import rules
from health.batches import settled
from health.causes import Cause, Level
from health.database import DatabaseProblem
from health.facts import Facts, Failing, State
from health.metrics import LATENCY, QUEUE_SIZE, RATE_LIMIT_WAITS, SUCCESS_RATE
from health.rules import judge, worst
from health.texts import at
from queueing import (
    BatchOutcome,
    BatchRecord,
    Breaker,
    DeadLetter,
    Death,
    Hint,
    Policy,
    PolicyMismatch,
    Priority,
    QuotaStatus,
    Stats,
)
from runtime.heartbeat import Process
from runtime.redis_outage import Outage, OutageKind

NOW_MS = 1_764_000_000_000
MINUTE_MS = 60_000
INTERVAL_MS = 5 * MINUTE_MS
ASSETS = ("XAUUSD", "EURUSD")
REDIS_DOWN = Outage(OutageKind.UNREACHABLE, "Redis does not answer", "Start it.")
NO_MEMORY = Outage(OutageKind.MEMORY, "Redis has no memory left", "Raise maxmemory.")
POSTGRES_DOWN = DatabaseProblem("unreachable", "timeout", "Start it.")


def batch(minutes_ago: float = 1, **outcomes: BatchOutcome) -> BatchRecord:
    at_ms = NOW_MS - int(minutes_ago * MINUTE_MS)
    good = dict.fromkeys(ASSETS, BatchOutcome("updated", at_ms=at_ms))
    slot = str(at_ms // 1000)
    return BatchRecord(slot, at_ms, at_ms, ASSETS, {**good, **outcomes}, finished_at_ms=at_ms)


QUOTA = QuotaStatus(
    limit=5,
    permits=(),
    in_use=0,
    free=5,
    now_ms=NOW_MS,
    epoch_known=True,
    hold_until_ms=0,
    blocked_until_ms=0,
    blocked_reason=None,
    batch_at_ms=0,
    batch_calls=0,
    urgent=(NOW_MS, "free"),
    background=(NOW_MS, "free"),
    waits_last_hour=0,
)
STATE = State(
    stats=Stats(dict.fromkeys(Priority, 0), 0, 0, 0, 0, 0.0, Hint(NOW_MS)),
    quota=QUOTA,
    blocked_since_ms=None,
    batches=settled([batch()]),
    metrics=[SUCCESS_RATE.of(100), LATENCY.of(0), QUEUE_SIZE.of(0), RATE_LIMIT_WAITS.of(0)],
    jobs=[{"id": "every-batch", "next_run": "2026-01-04T12:00:00+00:00"}],
    dead=[],
    processes=[Process("worker@a-1", 1_000), Process("scheduler@a-2", 1_000)],
    last_seen_ms=dict.fromkeys(("worker", "scheduler", "batch", "secondary"), NOW_MS - 1_000),
)
FACTS = Facts(NOW_MS, NOW_MS - 3_600_000, INTERVAL_MS, state=STATE)


def facts(**changes: Any) -> Facts:
    return replace(FACTS, state=replace(STATE, **changes))


def only(found: Facts) -> Cause:
    (cause,) = judge(found)
    return cause


def letter(symbol: str, kind: Death) -> DeadLetter:
    return DeadLetter(symbol, kind, "why", NOW_MS - 1, 0, 3, 4, {})


def test_healthy_is_the_absence_of_causes() -> None:
    assert judge(FACTS) == []
    assert worst([]) is Level.HEALTHY
    assert Level.HEALTHY.status == "healthy"


def test_the_worst_cause_comes_first_and_decides() -> None:
    found = judge(replace(facts(outage="x", dead=[letter("A", Death.POISON)]), redis=REDIS_DOWN))
    assert [cause.level for cause in found] == [Level.UNHEALTHY, Level.DEGRADED, Level.DEGRADED]
    assert worst(found) is Level.UNHEALTHY


def test_servers_away() -> None:
    found = judge(replace(FACTS, redis=REDIS_DOWN, database=POSTGRES_DOWN, state=None))
    assert [(cause.key, cause.level) for cause in found] == [
        ("redis.unreachable", Level.UNHEALTHY),
        ("postgresql.unreachable", Level.UNHEALTHY),
    ]
    assert "PostgreSQL cannot be used (timeout)" in found[1].text


def test_redis_answers_and_refuses_changes() -> None:
    cause = only(facts(writes=NO_MEMORY))
    assert (cause.key, cause.level, cause.stops) == ("redis.memory", Level.UNHEALTHY, True)
    assert (cause.text, cause.remedy) == (NO_MEMORY.cause, NO_MEMORY.remedy)


GONE = {**STATE.last_seen_ms, "worker": NOW_MS - 180_000, "scheduler": NOW_MS - 180_000}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (facts(writes=NO_MEMORY, processes=[], last_seen_ms=GONE), ["redis.memory"]),
        (facts(suspended=True, processes=[], last_seen_ms=GONE), ["suspended", "scheduler"]),
        (facts(processes=[], last_seen_ms=GONE, batches=[]), ["scheduler", "worker"]),
    ],
)
def test_what_follows_from_a_cause_is_not_told_beside_it(given: Facts, told: list[str]) -> None:
    assert [cause.key for cause in judge(given)] == told


def test_a_symptom_that_is_worse_than_its_cause_is_told() -> None:
    starting = facts(processes=STATE.processes[1:], batches=settled([batch(minutes_ago=60)]))
    assert [cause.key for cause in judge(starting)] == ["batch", "worker"]


def test_a_database_that_misses_only_some_texts() -> None:
    ascii_only = DatabaseProblem("encoding", "its encoding is SQL_ASCII", "Make another.")
    cause = only(replace(FACTS, database=ascii_only))
    assert (cause.level, cause.stops) == (Level.DEGRADED, False)


def test_rq_is_suspended() -> None:
    cause = only(facts(suspended=True))
    assert (cause.level, cause.stops) == (Level.UNHEALTHY, True)
    assert "rq resume" in (cause.remedy or "")


@pytest.mark.parametrize(("role", "limit_ms"), [("scheduler", 30_000), ("worker", 90_000)])
def test_processes(role: str, limit_ms: int) -> None:
    others = [process for process in STATE.processes if process.role != role]

    def seen(ago_ms: int, in_book: bool) -> Facts:
        mine = [Process(f"{role}@a-3", ago_ms)] if in_book else []
        last = {**STATE.last_seen_ms, role: NOW_MS - ago_ms}
        return facts(processes=[*others, *mine], last_seen_ms=last)

    assert judge(seen(limit_ms, in_book=True)) == []
    late = only(seen(limit_ms + 1, in_book=True))
    assert (late.key, late.level, late.since_ms) == (role, Level.UNHEALTHY, NOW_MS - limit_ms - 1)
    assert only(seen(limit_ms, in_book=False)).level is Level.DEGRADED
    assert only(seen(limit_ms + 1, in_book=False)).level is Level.UNHEALTHY


def test_no_batch_yet() -> None:
    def since(ago_ms: int) -> Facts:
        return facts(batches=[], last_seen_ms={**STATE.last_seen_ms, "batch": NOW_MS - ago_ms})

    assert only(since(INTERVAL_MS)).level is Level.DEGRADED
    assert "No batch has run yet" in only(since(0)).text
    assert only(since(INTERVAL_MS + 1)).level is Level.UNHEALTHY
    assert judge(replace(since(INTERVAL_MS + 1), batches_wanted=False)) == []


def test_first_batch_still_runs() -> None:
    running = replace(batch(0), outcomes={}, finished_at_ms=None)
    cause = only(facts(batches=settled([running])))
    assert cause.level is Level.DEGRADED
    assert "The first batch has not finished yet" in cause.text


def test_old_batch() -> None:
    def planned(minutes_ago: float) -> Facts:
        return facts(batches=settled([batch(minutes_ago)]))

    assert judge(planned(11)) == []
    assert only(planned(11.01)).level is Level.UNHEALTHY
    assert judge(replace(planned(60), batches_wanted=False)) == []
    just_started = replace(planned(60), started_ms=NOW_MS - 59_000)
    assert only(just_started).level is Level.DEGRADED


def test_last_batch_left_something_behind() -> None:
    failed = BatchOutcome("retrying", "ProviderDown: 502")
    cause = only(facts(batches=settled([batch(EURUSD=failed)])))
    assert cause.level is Level.DEGRADED
    assert cause.text == "The last batch did not refresh EURUSD (ProviderDown: 502)"
    assert cause.since_ms == NOW_MS - MINUTE_MS


def test_while_a_batch_runs_the_one_before_is_the_last() -> None:
    running = replace(batch(0), outcomes={}, finished_at_ms=None)
    before = batch(5, XAUUSD=BatchOutcome("failed", "x"))
    assert only(facts(batches=settled([running, before]))).since_ms == before.started_at_ms
    assert judge(facts(batches=settled([running, batch(5)]))) == []
    superseded = replace(batch(5), outcomes={}, finished_at_ms=None)
    assert "next batch began" in only(facts(batches=settled([running, superseded]))).text


@pytest.mark.parametrize(
    ("reason", "level"),
    [
        ("401: the provider does not know API key ab12", Level.UNHEALTHY),
        ("429: the provider counts too many calls", Level.DEGRADED),
        ("by hand", Level.DEGRADED),
        (None, Level.DEGRADED),
    ],
)
def test_blocked(reason: str | None, level: Level) -> None:
    quota = replace(QUOTA, blocked_until_ms=NOW_MS + 1_000, blocked_reason=reason)
    cause = only(facts(quota=quota, blocked_since_ms=NOW_MS - 5_000))
    assert cause.level is level
    assert cause.since_ms == NOW_MS - 5_000
    assert f"until {at(NOW_MS + 1_000)}, since {at(NOW_MS - 5_000)}." in cause.sentence(NOW_MS)
    assert judge(facts(quota=replace(quota, blocked_until_ms=NOW_MS))) == []


def test_held() -> None:
    quota = replace(QUOTA, hold_until_ms=NOW_MS + 1)
    assert only(facts(quota=quota)).level is Level.DEGRADED
    assert judge(facts(quota=replace(quota, limit=None))) == []


def test_a_quota_that_is_kept_for_other_limits() -> None:
    other = PolicyMismatch(Policy(limit=5), Policy(limit=None), NOW_MS + 9_000)
    cause = only(facts(quota=replace(QUOTA, mismatch=other)))
    assert (cause.key, cause.level, cause.until_ms) == ("policy", Level.DEGRADED, NOW_MS + 9_000)
    assert "it is kept for 5 calls per 60 s" in cause.text
    assert "set here are any number of calls" in cause.text
    assert "`assetq limiter reset`" in (cause.remedy or "")


def planned(calls: int, *, possible: float | None = 25, waiting: int = 0) -> Facts:
    quota = replace(
        QUOTA, batch_calls=calls, calls_per_batch=possible, batch_interval_ms=INTERVAL_MS
    )
    return facts(quota=quota, stats=replace(STATE.stats, pending=waiting))


def test_a_batch_that_cannot_fit_is_told_before_it_is_late() -> None:
    cause = only(planned(26))
    assert (cause.key, cause.level) == ("capacity", Level.DEGRADED)
    assert "takes 26 of 25 calls that the quota allows in 5 min: it cannot finish" in cause.text
    assert "BATCH_INTERVAL_MINUTES" in (cause.remedy or "")
    assert "takes 1 of 0.4 calls" in only(planned(1, possible=5 / 12)).text
    for fits in (planned(24, waiting=9), planned(25), planned(900, possible=None)):
        assert judge(fits) == []
    assert judge(replace(planned(26), batches_wanted=False)) == []


def test_others_that_starve_beside_a_batch_are_told() -> None:
    cause = only(planned(25, waiting=3))
    assert (cause.key, cause.level) == ("share", Level.DEGRADED)
    assert "takes 25 of 25 calls that the quota allows in 5 min: other assets get" in cause.text


@pytest.mark.parametrize(
    "metric", [SUCCESS_RATE.of(50), LATENCY.of(31_000), QUEUE_SIZE.of(501), RATE_LIMIT_WAITS.of(11)]
)
def test_each_metric(metric: Any) -> None:
    cause = only(facts(metrics=[*STATE.metrics, metric]))
    assert cause.level is Level.DEGRADED
    assert metric.name in cause.text
    assert f"{metric.limit.threshold:g}" in cause.text


def test_poison_and_assets_that_were_given_up() -> None:
    invalid = letter("B", Death.INVALID)
    assert judge(facts(dead=[invalid])) == []
    cause = only(facts(dead=[invalid, letter("C", Death.POISON)]))
    assert cause.level is Level.DEGRADED
    assert cause.text == "Workers died refreshing C"
    cause = only(facts(dead=[invalid, letter("A", Death.TRANSIENT)]))
    assert (cause.level, cause.text) == (Level.DEGRADED, "1 asset fails: A (why)")


def test_failing_assets_from_the_second_attempt_on() -> None:
    once, twice = Failing("A", 1, "502"), Failing("B", 2, "504")
    assert judge(facts(failing=[once])) == []
    assert only(facts(failing=[once, twice])).text == "1 asset fails: B (504)"


def test_secondary_rounds() -> None:
    def planned(minutes_ago: float | None, *, seen_ago: float = 500) -> Facts:
        last = {**STATE.last_seen_ms, "secondary": NOW_MS - int(seen_ago * MINUTE_MS)}
        at_ms = None if minutes_ago is None else NOW_MS - int(minutes_ago * MINUTE_MS)
        return facts(secondary_ms=at_ms, last_seen_ms=last)

    assert judge(planned(61)) == []
    assert only(planned(61.01)).text == "No secondary round has run (one is due every 30 min)"
    assert judge(planned(None, seen_ago=61)) == [], "it has just been started"
    assert only(planned(None, seen_ago=62)).key == "secondary"


def test_failing_ticks() -> None:
    cause = only(facts(failed_ticks={"batch": 2, "secondary": 1}))
    assert cause.level is Level.DEGRADED
    assert cause.text == "Ticks failed within the last hour (2 batch, 1 secondary)"


def test_a_beginning_in_the_future_is_unknown() -> None:
    died = replace(letter("A", Death.POISON), died_at_ms=NOW_MS + 3_600_000)
    assert only(facts(dead=[died])).since_ms is None


def test_an_end_that_has_passed_is_not_told() -> None:
    """The probe of an open circuit breaker is due, and waits for a free call."""
    due, passed = (
        Breaker(failures=5, since_ms=NOW_MS - 60_000, probe_at_ms=NOW_MS + ms) for ms in (1, -1)
    )
    assert only(facts(quota=replace(QUOTA, breaker=due))).until_ms == NOW_MS + 1
    cause = only(facts(quota=replace(QUOTA, breaker=passed)))
    assert cause.until_ms is None
    assert cause.since_ms == NOW_MS - 60_000


def test_missing_entry() -> None:
    cause = only(facts(jobs=[*STATE.jobs, {"id": "every-secondary", "next_run": None}]))
    assert cause.level is Level.DEGRADED
    assert "every-secondary" in cause.text


def test_outage_is_told_once() -> None:
    paused = facts(outage="PostgreSQL: refused")
    assert only(paused).level is Level.DEGRADED
    assert only(replace(paused, database=POSTGRES_DOWN)).key == "postgresql.unreachable"


@pytest.mark.parametrize("rule", rules.RULES)
def test_no_rule_finds_anything_in_a_healthy_system(rule: Callable[..., Any]) -> None:
    assert list(rule(FACTS, STATE)) == []


def test_sentences() -> None:
    known = Cause("k", Level.DEGRADED, "It rains", NOW_MS)
    assert known.sentence(NOW_MS + 1) == "It rains, since 2025-11-24T16:00:00Z."
    seen = replace(known, since_ms=None)
    assert seen.sentence(NOW_MS) == "It rains, seen since 2025-11-24T16:00:00Z."
