"""The figures of the present hour, noted by every tick: see db.hours."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import structlog

from db.connection import Connection
from db.errors import DatabaseError
from db.hours import HourLog, Reading, RoundFigures
from queueing import Priority
from queueing.foreign import figures
from queueing.timings import Histogram
from runtime.context import Context
from worker.selection import utc_from_ms

log = structlog.get_logger(__name__)

_PRICES = (Priority.CRITICAL, Priority.HIGH, Priority.MEDIUM, Priority.LOW)


def note_hour(context: Context, connection: Connection, found: RoundFigures | None = None) -> None:
    """Add what was counted since the last note; at most once a minute, unless there is a `found`.

    A figure is not worth a tick: PostgreSQL's refusal is logged.
    """
    try:
        HourLog(connection, context.keys.provider).note(_reading(context), found)
    except DatabaseError as error:
        log.warning("hours.lost", detail=str(error))


def _reading(context: Context) -> Reading:
    fields: Any = context.redis.hgetall(context.keys.counters)
    counters = figures(fields)
    quota = context.limiter.status()
    holding = {
        "blocked": quota.blocked_until_ms > quota.now_ms,
        "breaker": quota.breaker.open,
        "hold": quota.hold_until_ms > quota.now_ms,
    }
    return Reading(
        utc_from_ms(quota.now_ms),
        prices=sum(_granted(counters, band) for band in _PRICES),
        bars=_granted(counters, Priority.BARS),
        history=_granted(counters, Priority.BACKFILL),
        probes=counters.get("probes", 0),
        idle_ms=counters.get("idle_ms", 0),
        waits=_waits(context.queue.histograms()),
        causes=[cause for cause, holds in holding.items() if holds],
    )


def _granted(counters: Mapping[str, int], band: Priority) -> int:
    return counters.get(f"granted:{int(band)}", 0)


def _waits(found: list[Histogram]) -> list[int]:
    """The waits of prices, whatever their band."""
    labels = {str(int(band)) for band in _PRICES}
    mine = [one.counts for one in found if one.name == "wait" and one.label in labels]
    return [sum(counts) for counts in zip(*mine, strict=True)]
