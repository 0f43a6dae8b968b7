"""Which ticks run when: slots of Redis' clock, without cron strings and without host clocks."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from market.coverage import SETTLES
from queueing import Keys
from queueing.foreign import END_MS, figure
from runtime.context import Context
from settings import Settings
from worker.critical import last_known
from worker.follow import EVERY
from worker.ticks import BARS, BATCH, SECONDARY

_NAMED = 5


@dataclass(frozen=True)
class Entry:
    """One periodic tick."""

    kind: str
    name: str
    interval_s: int
    urgent: bool
    offset_s: int = 0
    """How long after the multiples of its interval a slot begins."""

    @property
    def id(self) -> str:
        """The entry's id in rq-scheduler."""
        return f"every-{self.kind}"

    @property
    def trigger(self) -> str:
        """The interval in words."""
        minutes = self.interval_s // 60
        return f"every {minutes} min" if self.interval_s % 60 == 0 else f"every {self.interval_s} s"

    def slot(self, now_ms: int) -> int:
        """The beginning, in seconds, of the slot that `now_ms` lies in."""
        since_s = now_ms // 1000 - self.offset_s
        return since_s // self.interval_s * self.interval_s + self.offset_s

    def next_slot(self, now_ms: int) -> int:
        """The beginning, in seconds, of the next slot."""
        return self.slot(now_ms) + self.interval_s


def entries(settings: Settings, batch: Sequence[str] = ()) -> tuple[Entry, ...]:
    """The entries that the settings ask for; `batch` names the assets of the batch if known."""
    secondary = Entry(
        SECONDARY, "Enqueue secondary assets", settings.secondary_interval_minutes * 60, False
    )
    rounds = [secondary]
    if settings.bars_follow_clock:
        every, offset = int(EVERY.total_seconds()), int(SETTLES.total_seconds())
        rounds.append(Entry(BARS, "Enqueue bars that have ended", every, True, offset))
    if not settings.priority_assets_enabled:
        return tuple(rounds)
    name = f"Update priority assets ({_names(batch or settings.priority_assets)})"
    return (Entry(BATCH, name, settings.batch_interval_minutes * 60, True), *rounds)


def _names(batch: Sequence[str]) -> str:
    if len(batch) > _NAMED:
        return f"{', '.join(batch[:_NAMED])} and {len(batch) - _NAMED} more"
    return ", ".join(batch) or "those that are CRITICAL"


def schedule(context: Context) -> list[dict[str, Any]]:
    """The schedule as people and pages read it: id, name, next_run (ISO, UTC) and trigger.

    Reads Redis and changes nothing. `next_run` is None for an entry that is missing in Redis:
    no scheduler has run since Redis was new or lost its data.
    """
    standing: Any = context.redis.zrange(entries_key(context.keys), 0, -1, withscores=True)
    at = {_text(id_): at_s for id_, score in standing if (at_s := instant(score)) is not None}
    return [
        {
            "id": entry.id,
            "name": entry.name,
            "next_run": _iso(at[entry.id]) if entry.id in at else None,
            "trigger": entry.trigger,
        }
        for entry in entries(context.settings, last_known(context))
    ]


def entries_key(keys: Keys) -> str:
    """The key of rq-scheduler's ZSET: entry id → second of its next run."""
    return keys.scheduler_entries


def instant(score: float) -> int | None:
    """The second of an entry's next run; None for what an external writer made of it."""
    seconds = figure(score)
    return seconds if seconds is not None and seconds < END_MS // 1000 else None


def _iso(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


def _text(value: bytes | str) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
