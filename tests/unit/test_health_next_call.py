"""What the next call waits for: trouble first, then the quota, then the queue."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from health.causes import Level
from health.facts import Facts
from health.holds import WAITS
from health.next_call import next_call, next_refresh, notes
from health.rules import judge
from queueing import Hint, Policy, PolicyMismatch, Priority, Stats
from queueing.limiter import Breaker
from tests.unit.test_health_rules import (
    FACTS,
    MINUTE_MS,
    NO_MEMORY,
    NOW_MS,
    POSTGRES_DOWN,
    QUOTA,
    REDIS_DOWN,
    STATE,
    facts,
)

SOON_MS = NOW_MS + 5_000
NOBODY = {**STATE.last_seen_ms, "worker": NOW_MS - 3 * MINUTE_MS}


def limited(reason: str, **changes: Any) -> Facts:
    """The quota lets no call go before SOON_MS."""
    return facts(
        quota=replace(QUOTA, urgent=(SOON_MS, reason), background=(SOON_MS, reason), **changes)
    )


def pending(queued: dict[Priority, int], hint: Hint, pending: int = 1) -> Stats:
    return replace(
        STATE.stats, queued=dict.fromkeys(Priority, 0) | queued, pending=pending, hint=hint
    )


def test_nothing_holds_a_call_in_a_healthy_system() -> None:
    assert next_call(FACTS, urgent=True) is None
    assert next_refresh(FACTS) is None


@pytest.mark.parametrize(
    ("key", "given"),
    [
        ("redis.unreachable", replace(FACTS, redis=REDIS_DOWN, state=None)),
        ("redis.memory", facts(writes=NO_MEMORY)),
        ("postgresql.unreachable", replace(FACTS, database=POSTGRES_DOWN)),
        ("suspended", facts(suspended=True)),
        ("worker", facts(processes=[], last_seen_ms=NOBODY)),
        ("outage", facts(outage="PostgreSQL: refused")),
    ],
)
def test_what_stops_all_calls_comes_before_the_quota(key: str, given: Facts) -> None:
    for urgent in (True, False):
        cause = next_call(given, urgent=urgent)
        assert cause
        assert (cause.key, cause.stops) == (key, True)
    if given.state:
        busy = replace(given.state, stats=pending({Priority.LOW: 1}, Hint(NOW_MS)))
        cause = next_refresh(replace(given, state=busy))
        assert cause
        assert cause.key == key


@pytest.mark.parametrize("reason", ["window", "reserved", "spacing"])
def test_ordinary_waits(reason: str) -> None:
    cause = next_call(limited(reason), urgent=False)
    assert cause
    assert (cause.level, cause.until_ms) == (Level.HEALTHY, SOON_MS)
    assert cause.text.lower() == WAITS[reason]


def test_another_policy_has_the_words_of_health() -> None:
    other = PolicyMismatch(Policy(limit=5), Policy(limit=9), SOON_MS)
    given = limited("policy", mismatch=other)
    assert [next_call(given, urgent=urgent) for urgent in (True, False)] == judge(given) * 2


def test_trouble_with_the_provider_has_the_words_of_health() -> None:
    blocked = next_call(limited("blocked", blocked_until_ms=SOON_MS), urgent=True)
    assert blocked
    assert blocked.text == "Calls are blocked (no reason given)"
    failing = Breaker(failures=5, since_ms=NOW_MS, probe_at_ms=SOON_MS, reason="503")
    opened = next_call(limited("breaker", breaker=failing), urgent=True)
    assert opened
    assert opened.text == "The provider fails; the next call is a probe (503)"
    held = next_call(limited("hold", hold_until_ms=SOON_MS), urgent=True)
    assert held
    assert held.text.startswith("The calls of the last window are unknown")


def test_urgent_and_other_calls_wait_for_different_things() -> None:
    given = facts(quota=replace(QUOTA, background=(SOON_MS, "reserved")))
    assert next_call(given, urgent=True) is None
    assert next_call(given, urgent=False)


@pytest.mark.parametrize("reason", ["delayed", "leased", "version"])
def test_pending_work_that_is_not_queued(reason: str) -> None:
    hint = Hint(NOW_MS, SOON_MS, reason)
    cause = next_refresh(facts(stats=pending({}, hint)))
    assert cause
    assert (cause.key, cause.text.lower(), cause.until_ms) == (reason, WAITS[reason], SOON_MS)
    assert next_refresh(facts(stats=pending({}, hint, pending=0))) is None


def test_the_most_urgent_that_is_queued_decides() -> None:
    quota = replace(QUOTA, background=(SOON_MS, "reserved"))
    low = pending({Priority.LOW: 1}, Hint(NOW_MS))
    assert next_refresh(facts(quota=quota, stats=low))
    critical = pending({Priority.LOW: 1, Priority.CRITICAL: 1}, Hint(NOW_MS))
    assert next_refresh(facts(quota=quota, stats=critical)) is None


def test_notes_explain_what_is_no_trouble() -> None:
    quiet = replace(STATE, unpublished={"forex": SOON_MS}, closed_markets=["forex"])
    found = list(notes(quiet))
    assert [cause.key for cause in found] == ["unpublished.forex", "closed.forex"]
    assert all(cause.level is Level.HEALTHY for cause in found)
