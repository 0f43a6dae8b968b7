"""The promises under a hostile network; and the proof that these tests can fail.

Each mutation breaks one rule in the text of the scripts, and the scenario that guards the rule must
notice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import fakeredis
import pytest
from redis import Redis

import queueing.scripts
from tests.kit import queueing_scenarios as scenarios

Scenario = Callable[[Redis, int], object]


def fresh() -> Redis:
    return fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=True)


FOUR = [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in (1, 2, 3))]


@pytest.mark.parametrize("seed", FOUR)
def test_never_over_the_quota_and_never_idle(seed: int) -> None:
    scenarios.never_over_nor_idle(fresh(), seed)


@pytest.mark.parametrize("seed", FOUR)
def test_batches_start_in_time_and_waste_little(seed: int) -> None:
    assert scenarios.batches_start_in_time(fresh(), seed) > 0.85


@pytest.mark.parametrize("seed", range(2))
def test_nothing_starves(seed: int) -> None:
    scenarios.nothing_starves(fresh(), seed)


@pytest.mark.parametrize("seed", range(2))
def test_leases_are_owned_and_places_kept(seed: int) -> None:
    scenarios.leases_are_owned(fresh(), seed)


@dataclass(frozen=True)
class Mutation:
    """A rule broken on purpose: `old`, which stands exactly once in a script, becomes `new`."""

    name: str
    old: str
    new: str
    scenario: Scenario
    noticed: str


HORIZON = "local horizon_ms = policy.send_ms + policy.window_ms + policy.guard_ms"
quota, in_time = scenarios.never_over_nor_idle, scenarios.batches_start_in_time
MUTATIONS = [
    Mutation(
        "guard-left-out-at-grant",
        HORIZON,
        HORIZON.replace(" + policy.guard_ms", ""),
        quota,
        "arrivals",
    ),
    Mutation(
        "guard-left-out-at-answer",
        "local until_ms = now + policy.window_ms + policy.guard_ms",
        "local until_ms = now + policy.window_ms",
        quota,
        "arrivals",
    ),
    Mutation(
        "send-budget-not-counted",
        HORIZON,
        HORIZON.replace("policy.send_ms + ", ""),
        quota,
        "arrivals",
    ),
    Mutation(
        "epoch-ignored",
        "if q.epoch == epoch and not lost",
        "if not lost",
        quota,
        "arrivals",
    ),
    Mutation(
        "lost-window-ignored",
        "local lost = q.hold_until",
        "local lost = false and q.hold_until",
        quota,
        "arrivals",
    ),
    Mutation(
        "timeout-released-as-answered",
        "settle(ended.token, ended.answered)",
        "settle(ended.token, true)",
        quota,
        "arrivals",
    ),
    Mutation(
        "late-answer-prolongs",
        "answered and 'LT' or 'GT'",
        "answered and 'CH' or 'GT'",
        quota,
        "idle",
    ),
    Mutation(
        "answer-revives-a-permit",
        "'XX', answered and",
        "answered and",
        quota,
        "idle|arrivals",
    ),
    Mutation(
        "limit-off-by-one",
        "nth_last_end(policy.limit)",
        "nth_last_end(policy.limit + 1)",
        quota,
        "arrivals",
    ),
    Mutation("answers-not-counted", "if ended.sent and", "if false and", quota, "idle"),
    Mutation(
        "slot-rolls-over-early",
        "now > q.batch_at + policy.grace_ms then\n    local late = now - policy.grace_ms",
        "now > q.batch_at then\n    local late = now",
        in_time,
        "batch",
    ),
    Mutation(
        "no-look-ahead", "if at + horizon_ms <= deadline then", "if true then", in_time, "batch"
    ),
    Mutation(
        "batch-calls-not-reserved",
        "policy.limit - math.min(q.batch_calls, policy.limit)",
        "policy.limit",
        in_time,
        "batch",
    ),
    Mutation(
        "tolerance-added-twice",
        "q.batch_at + policy.tolerance_ms",
        "q.batch_at + 3 * policy.tolerance_ms",
        in_time,
        "batch",
    ),
    Mutation(
        "ties-by-band",
        "(band.urgency == best.urgency and band.since < best.since)",
        "false",
        scenarios.nothing_starves,
        "starved",
    ),
    Mutation(
        "no-aging",
        "if policy.aging_ms == 0 or",
        "if true or",
        scenarios.nothing_starves,
        "starved",
    ),
    Mutation(
        "token-not-checked",
        "if item and item.token == ended.token then",
        "if item then",
        scenarios.leases_are_owned,
        "lease",
    ),
    Mutation(
        "one-score-per-millisecond",
        "math.max(now, last + 1 / 128)",
        "now",
        scenarios.leases_are_owned,
        "order",
    ),
    Mutation(
        "scores-of-14-digits",
        "return priority * 1e13 + last_score",
        "return tostring(priority * 1e13 + last_score)",
        scenarios.leases_are_owned,
        "order",
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.name)
def test_a_broken_rule_is_noticed(mutation: Mutation, monkeypatch: pytest.MonkeyPatch) -> None:
    original, changed = queueing.scripts.source, set()

    def broken(name: str) -> str:
        text = original(name)
        assert text.count(mutation.old) <= 1, f"{mutation.old!r} is not unique in {name}"
        if mutation.old in text:
            changed.add(name)
        return text.replace(mutation.old, mutation.new)

    monkeypatch.setattr(queueing.scripts, "source", broken)
    with pytest.raises(AssertionError, match=f"^({mutation.noticed}):"):
        _play(mutation.scenario)
    assert changed, f"{mutation.old!r} is in no script: the rule moved, and so must this test"


def _play(scenario: Scenario) -> None:
    for seed in range(20):
        scenario(fresh(), seed)
