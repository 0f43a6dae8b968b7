"""One bad asset of each kind costs itself alone: the first hours of `bench.bad_items`."""

from __future__ import annotations

import redis

from bench.bad_items import AMONG_OTHERS, AS_CRITICAL, FAULTS, simulate
from local.sandbox import worst_window

FINAL = ("the ticker is malformed", "the request is refused (400)", "a constraint refuses its row")


def test_all_others_keep_their_targets(r: redis.Redis) -> None:
    day = simulate(r, 2.5, bad=AMONG_OTHERS)
    assert day.late == ()
    assert set(day.spent) == set(FAULTS)
    for kind, calls in day.spent.items():
        # Four attempts, then one after each rest of 5, 10, 20 and 40 minutes.
        assert calls == 1 if kind in FINAL else calls <= 4 + 4, (kind, calls)
    assert day.spent["it kills its worker"] == 3
    assert worst_window(day.result.arrivals_ms, 60_000) <= 5


def test_bad_critical_assets_delay_no_good_one(r: redis.Redis) -> None:
    day = simulate(r, 1, bad=AS_CRITICAL)
    assert day.oldest_critical_s < 310
    assert day.calls_of_bad <= 3 * 1 + 4 + 5 * (4 + 3) + 3
