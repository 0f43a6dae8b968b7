"""Doctor says before it is missed that a batch cannot fit, or that nothing is left beside it."""

from __future__ import annotations

import pytest

from cli.commands.doctor.capacity import Load, judge, load_of
from settings import Settings

MINUTE = 60.0


def load(critical: int, others: int, *, calls: float = 25, tickers: int = 1) -> Load:
    return Load(critical, others, tickers, calls, 5 * MINUTE)


@pytest.mark.parametrize(
    ("given", "status", "told"),
    [
        (load(3, 92), "ok", "takes 3 of 25 calls that the quota allows in 5 min; the other 92"),
        (load(3, 0), "ok", "takes 3 of 25 calls"),
        (load(20, 92), "ok", "refreshed every 1 h 32 min at best"),
        (
            load(25, 92),
            "warn",
            "takes 25 of 25 calls that the quota allows in 5 min: other",
        ),
        (load(26, 92), "fail", "cannot finish before the next one"),
        (load(300, 5_000, tickers=250), "ok", "takes 2 of 25 calls"),
        (load(24, 2_000), "warn", "refreshed every 6 d 22 h at best"),
        (load(1, 0, calls=0.5), "fail", "takes 1 of 0.5 calls"),
        (load(0, 92), "ok", "takes 0 of 25 calls"),
    ],
)
def test_what_the_quota_carries(given: Load, status: str, told: str) -> None:
    found = judge(given)
    assert (found.check, found.status) == ("capacity", status)
    assert told in found.text
    assert bool(found.remedy) == (status != "ok")


def test_the_load_of_settings() -> None:
    env = {"POLYGON_RATE_LIMIT": "10", "RATE_WINDOW_SECONDS": "30", "BATCH_INTERVAL_MINUTES": "2"}
    found = load_of(Settings.load(env, env_file=None), 50, 3, 1)
    assert found == Load(3, 47, 1, 40, 120)
    assert load_of(Settings.load(env, env_file=None), 50, 0, 250) == Load(0, 50, 250, 40, 120)
