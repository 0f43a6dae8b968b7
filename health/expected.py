"""When one pending item will be taken, and what frees it, as pages and commands tell it."""

from dataclasses import dataclass
from typing import Any

from health.causes import Cause
from health.texts import clock, iso, names

BATCH = "the batch"
_NOW_MS = 1_000


@dataclass(frozen=True)
class PermitEnd:
    """The end of a permit that frees a call for an item."""

    until_ms: int
    symbols: tuple[str, ...] = ()
    """What its call asks for, as far as is known; BATCH: assets of the next batch."""
    call_id: str | None = None
    """None: the call is still to be made."""


@dataclass(frozen=True)
class Expected:
    """When one item will be taken, if nothing new comes before it."""

    rank: int | None
    """1: it is taken next; None: it is in work."""
    at_ms: int | None
    """None: it is in work, or what it waits for has no known end."""
    cause: Cause | None = None
    """What it waits for; None: nothing."""
    freed_by: PermitEnd | None = None
    """The permit that it waits for, where that is the cause."""

    def text(self, now_ms: int) -> str:
        """The instant for people."""
        if self.cause and self.cause.key == "leased":
            return "in work"
        if self.at_ms is None:
            return "unknown"
        return "now" if self.at_ms <= now_ms + _NOW_MS else clock(self.at_ms, now_ms)

    def as_dict(self) -> dict[str, Any]:
        """With stable keys, for JSON."""
        return {
            "rank": self.rank,
            "expected_at": iso(self.at_ms),
            "waits_for": self.cause and self.cause.key,
            "why": self.why(),
            "freed_by": list(self.freed_by.symbols) if self.freed_by else [],
        }

    def why(self) -> str | None:
        """The cause for people, and whose permit it is; None: nothing holds it."""
        if self.cause is None:
            return None
        if self.freed_by is None or not self.freed_by.symbols:
            return self.cause.text
        return f"{self.cause.text}; freed by the permit of {names(self.freed_by.symbols)}"
