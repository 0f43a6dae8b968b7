"""An hour of the real scripts under a moved clock: what items were told when they were asked for is
what comes. `python -m bench.expected` does it at full size."""

from __future__ import annotations

from redis import Redis

from bench.expected import measured, run
from local.simulation import Scenario
from queueing import Policy


def test_items_are_taken_within_two_seconds_of_the_instant_told(r: Redis) -> None:
    taken, not_overtaken, right, p95_ms = measured(run(r, Policy(), Scenario(43, 1.0)).told)
    assert taken > 80
    assert not_overtaken > 40
    assert right >= 0.95
    assert p95_ms <= 2_000
