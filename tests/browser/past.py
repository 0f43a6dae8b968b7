"""Three weeks that a site has behind it, for the pictures: written as its workers would have."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from db.calls import insert_call
from db.connection import connect, unit_of_work
from db.hours import HourLog, Reading, RoundFigures
from db.rows import CallAudit
from queueing.timings import BOUNDS_MS
from tests.browser.running import RunningSite

DAYS = 21
ASSETS = 92
_ALLOWED = 5 * 60
_HOUR = timedelta(hours=1)
_WAITS = (0.14, 0.22, 0.3, 0.2, 0.09, 0.04, 0.01)
"""Which share of the prices waited as long as each of the first buckets says."""
_FAILED = (
    (200, "ProviderDown", 503, "The provider is not available (HTTP 503)"),
    (380, "ProviderDown", 503, "The provider is not available (HTTP 503)"),
    (386, "ProviderDown", None, "The provider did not answer within 10 s"),
    (700, "RateLimited", 429, "The provider allows no more calls for now (HTTP 429)"),
)
"""Calls that failed: how many minutes ago, and how."""


def tell_a_past(site: RunningSite) -> None:
    """Give a site whose processes rest the figures of three weeks at five calls a minute.

    The counters of Redis begin anew, as those of the past would be far above them.
    """
    keys, now = site.context.keys, datetime.fromtimestamp(site.context.redis_now_ms() / 1000, UTC)
    site.context.redis.delete(keys.counters, keys.timings, keys.waits)
    with connect(site.settings.database_url) as connection:
        with unit_of_work(connection):
            connection.execute("TRUNCATE assetq.hours")
            for number, (minutes, outcome, status, error) in enumerate(_FAILED):
                at = now - timedelta(minutes=minutes)
                audit = CallAudit(
                    f"drain@past:{number}", "/v2/snapshot", "snapshot", ("C:AUDCAD",), status,
                    outcome, at, 180 if status else 10_000, error,
                )  # fmt: skip
                insert_call(connection, keys.provider, audit)
        log = HourLog(connection, keys.provider)
        for reading, found in _readings(now):
            assert log.note(reading, found)


def _readings(now: datetime) -> Iterator[tuple[Reading, RoundFigures]]:
    """What the workers would have read at the end of each hour."""
    chance = random.Random(7)
    end = now.replace(minute=0, second=0, microsecond=0)
    lacking, prices, bars, history, idle_ms = 9 * ASSETS, 0, 0, 0, 0
    waits = [0] * (len(BOUNDS_MS["wait"]) + 1)
    yield Reading(end - DAYS * 24 * _HOUR - _HOUR, waits=waits), RoundFigures(ASSETS, 0, lacking)
    for number in reversed(range(DAYS * 24)):
        hour = end - (number + 1) * _HOUR
        asked = (
            176 + chance.randrange(28) - 70 * (hour.weekday() >= 5) + 20 * (hour.hour in (8, 14))
        )
        newest = {0: 62, 1: 30}.get(hour.hour, 0)
        older = min(lacking, max(0, _ALLOWED - 60 - asked - newest - chance.randrange(12)))
        older = older if number > 30 else min(older, 2)
        lacking = lacking - older if lacking > 60 else 60
        prices, bars, history = prices + asked, bars + newest, history + older
        idle_ms += chance.randrange(9_000)
        for bucket, share in enumerate(_WAITS):
            waits[bucket] += round(asked * share)
        yield (
            Reading(
                hour + timedelta(minutes=59),
                prices,
                bars,
                history,
                idle_ms=idle_ms,
                waits=tuple(waits),
                causes=("breaker",) if number in (6, 150, 151) else (),
            ),
            RoundFigures(ASSETS, chance.randrange(4), lacking),
        )
