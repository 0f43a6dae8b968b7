"""assetq.hours: what the calls of each hour bought, and how long items waited; kept for 90 days.

Counters in Redis only grow, and may be lost. Each note adds to the present hour by how much they
grew since the last note, which is kept beside the figures; so nothing is counted twice, whatever
crashes or restarts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from db.connection import Connection, unit_of_work
from db.queries import sql

KEEP_DAYS = 90
EVERY = timedelta(minutes=1)
"""Notes that come sooner after one change nothing."""
LONGEST = timedelta(minutes=10)
"""A cause that stands at a note is counted from the note before, at most so long."""
_GROWING = ("prices", "bars", "history", "probes", "idle_ms")


@dataclass(frozen=True)
class Reading:
    """What Redis tells at an instant. Counts since Redis' counters began."""

    at: datetime
    prices: int = 0
    bars: int = 0
    history: int = 0
    probes: int = 0
    idle_ms: int = 0
    waits: Sequence[int] = ()
    """How many items waited as long as each bucket says."""
    causes: Sequence[str] = ()
    """What holds calls now."""


@dataclass(frozen=True)
class RoundFigures:
    """What a secondary round found."""

    assets: int
    stale: int
    """Assets that could be fresher and whose time has come."""
    lacking: int
    """Calls that the series lack until they are whole."""


@dataclass(frozen=True)
class HourFigures:
    """A row of assetq.hours, without its provider."""

    hour: datetime
    noted_at: datetime
    prices: int = 0
    bars: int = 0
    history: int = 0
    probes: int = 0
    refused: int = 0
    idle_ms: int = 0
    waits: Sequence[int] = ()
    assets: int | None = None
    stale: int | None = None
    lacking: int | None = None
    causes: Mapping[str, float] = field(default_factory=dict)
    seen: Mapping[str, Any] = field(default_factory=dict)

    @property
    def calls(self) -> int:
        """All calls of the hour; probes and refused ones are among them."""
        return self.prices + self.bars + self.history


class HourLog:
    """Writes and reads the figures of one provider."""

    def __init__(self, connection: Connection, provider: str) -> None:
        self._connection, self._provider = connection, provider

    def note(self, now: Reading, found: RoundFigures | None = None) -> bool:
        """Add what was counted since the last note; false: one was made within a minute, or is
        being made. Deletes what is older than 90 days when an hour begins."""
        with unit_of_work(self._connection):
            row = self._connection.execute(sql("hours_lock")).fetchone()
            if not row or not row[0]:
                return False
            last = self._newest()
            if last and found is None and timedelta() <= now.at - last.noted_at < EVERY:
                return False
            figures = added(last, now, found)
            self._connection.execute(
                sql("upsert_hour"),
                asdict(figures)
                | {
                    "provider": self._provider,
                    "waits": list(figures.waits),
                    "causes": Jsonb(dict(figures.causes)),
                    "seen": Jsonb(dict(figures.seen)),
                },
            )
            if last is None or last.hour != figures.hour:
                self._connection.execute(sql("delete_old_hours"), {"keep_days": KEEP_DAYS})
            return True

    def hours(self, since: datetime) -> list[HourFigures]:
        """The hours that began since then, in order; one without a note is absent."""
        return self._read("select_hours", since)

    def days(self, since: datetime) -> list[HourFigures]:
        """The same in sums of UTC days, without waits, assets and causes."""
        return self._read("days_of_hours", since)

    def causes(self, since: datetime) -> dict[str, float]:
        """Cause → for how many seconds it stood since then."""
        parameters = {"provider": self._provider, "since": since}
        with unit_of_work(self._connection):
            return dict(self._connection.execute(sql("causes_of_hours"), parameters).fetchall())

    def _read(self, name: str, since: datetime) -> list[HourFigures]:
        parameters = {"provider": self._provider, "since": since}
        with (
            unit_of_work(self._connection),
            self._connection.cursor(row_factory=class_row(HourFigures)) as cursor,
        ):
            return list(cursor.execute(sql(name), parameters))

    def _newest(self) -> HourFigures | None:
        with self._connection.cursor(row_factory=class_row(HourFigures)) as cursor:
            parameters = {"provider": self._provider}
            return cursor.execute(sql("newest_hour"), parameters).fetchone()


def added(last: HourFigures | None, now: Reading, found: RoundFigures | None) -> HourFigures:
    """The figures of the present hour after a note. The first one only keeps the counters; those
    that shrank began anew."""
    hour = now.at.replace(minute=0, second=0, microsecond=0)
    seen = dict(last.seen) if last else _counts(now)
    base = last if last and last.hour == hour else HourFigures(hour, now.at)
    grown: dict[str, Any] = {
        name: getattr(base, name) + _growth(getattr(now, name), seen.get(name, 0))
        for name in _GROWING
    }
    waits = _sum(base.waits, _grown(now.waits, seen.get("waits", ())))
    past = now.at - last.noted_at if last else timedelta()
    seconds = min(max(past, timedelta()), LONGEST).total_seconds()
    causes = dict(base.causes)
    for cause in now.causes:
        causes[cause] = round(causes.get(cause, 0) + seconds, 1)
    known = found or last or base
    return replace(
        base,
        noted_at=now.at,
        waits=waits,
        assets=known.assets,
        stale=known.stale,
        lacking=known.lacking,
        causes=causes,
        seen=_counts(now),
        **grown,
    )


def _counts(now: Reading) -> dict[str, Any]:
    return {name: getattr(now, name) for name in _GROWING} | {"waits": list(now.waits)}


def _growth(now: int, before: int) -> int:
    return now - before if now >= before else now


def _grown(now: Sequence[int], before: Sequence[int]) -> list[int]:
    same = len(now) == len(before) and sum(now) >= sum(before)
    return [max(0, a - b) for a, b in zip(now, before, strict=True)] if same else list(now)


def _sum(one: Sequence[int], other: Sequence[int]) -> list[int]:
    if len(one) != len(other):  # other buckets, by another version
        return list(other)
    return [a + b for a, b in zip(one, other, strict=True)]
