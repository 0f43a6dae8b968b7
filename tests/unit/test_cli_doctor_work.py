"""Doctor tells a cause once: what follows from it is no diagnosis beside it."""

from __future__ import annotations

import pytest

from cli.commands.doctor.work import troubles
from health.facts import Facts
from tests.unit.test_health_rules import NO_MEMORY, NOW_MS, STATE, facts

GONE = {**STATE.last_seen_ms, "worker": NOW_MS - 180_000, "scheduler": NOW_MS - 180_000}


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (facts(writes=NO_MEMORY, processes=[], last_seen_ms=GONE), ["redis.memory"]),
        (facts(suspended=True, processes=[], last_seen_ms=GONE), ["suspended", "scheduler"]),
        (facts(processes=[], last_seen_ms=GONE, batches=[]), ["scheduler", "worker"]),
    ],
)
def test_what_follows_from_a_cause_is_not_told(given: Facts, told: list[str]) -> None:
    assert [cause.key for cause in troubles(given)] == told
