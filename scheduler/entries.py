"""Which ticks run when: slots of Redis' clock, not cron strings and not this host's clock."""

from dataclasses import dataclass

from settings import Settings
from worker.ticks import BATCH, SECONDARY


@dataclass(frozen=True)
class Entry:
    """One periodic tick."""

    kind: str
    name: str
    interval_s: int
    urgent: bool

    @property
    def id(self) -> str:
        """The id of its entry in rq-scheduler."""
        return f"every-{self.kind}"

    @property
    def trigger(self) -> str:
        """The interval for people."""
        minutes = self.interval_s // 60
        return f"every {minutes} min" if self.interval_s % 60 == 0 else f"every {self.interval_s} s"

    def slot(self, now_ms: int) -> int:
        """The beginning, in seconds, of the slot that `now_ms` lies in."""
        return now_ms // 1000 // self.interval_s * self.interval_s

    def next_slot(self, now_ms: int) -> int:
        """The beginning, in seconds, of the next slot."""
        return self.slot(now_ms) + self.interval_s


def entries(settings: Settings) -> tuple[Entry, ...]:
    """The entries that the settings ask for."""
    secondary = Entry(
        SECONDARY, "Enqueue secondary assets", settings.secondary_interval_minutes * 60, False
    )
    if not settings.priority_assets_enabled:
        return (secondary,)
    names = ", ".join(settings.priority_assets)
    batch = Entry(
        BATCH, f"Update priority assets ({names})", settings.batch_interval_minutes * 60, True
    )
    return (batch, secondary)
