"""The batches: what one asks for, and the record of what became of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from queueing.foreign import figure, json_object


def _are_symbols(value: Any) -> bool:
    """An empty list of Lua's is an object."""
    return value == {} or (isinstance(value, list) and all(isinstance(s, str) for s in value))


@dataclass(frozen=True)
class BatchOutcome:
    """What became of one asset of a batch."""

    status: str
    """updated, current (nothing newer can exist), retrying or failed"""
    error: str | None = None
    at_ms: int | None = None

    @classmethod
    def read(cls, text: str | bytes | None) -> "BatchOutcome | None":
        """Reads an outcome; None where there is none, or an external writer spoilt it."""
        raw = json_object(text)
        status, error = raw.get("status"), raw.get("error")
        if not isinstance(status, str):
            return None
        return cls(status, str(error) if error else None, figure(raw.get("at_ms")))

    @property
    def ok(self) -> bool:
        """The asset is as fresh as it can be."""
        return self.status in ("updated", "current")


@dataclass(frozen=True)
class Batch:
    """A group of critical items whose outcomes are kept in one record."""

    slot: str
    planned_at_ms: int
    next_at_ms: int
    interval_ms: int
    next_calls: int
    """Calls that the next batch will make: kept free for it."""
    assets: tuple[str, ...]
    outcomes: Mapping[str, BatchOutcome] = field(default_factory=dict)
    """What is known without a call, e.g. that nothing newer can exist."""
    ttl_ms: int = 24 * 3600 * 1000


@dataclass(frozen=True)
class BatchRecord:
    """One batch as it is kept in Redis; instants in ms of Redis' clock."""

    slot: str
    planned_at_ms: int
    started_at_ms: int
    assets: tuple[str, ...]
    outcomes: dict[str, BatchOutcome]
    first_call_at_ms: int | None = None
    finished_at_ms: int | None = None
    calls: int = 0

    @classmethod
    def read(cls, slot: str, head: str | bytes, figures: Sequence[Any]) -> "BatchRecord | None":
        """Reads a record without its outcomes: its head, and the numbers that change. None for one
        that an external writer spoilt."""
        calls, first_call, finished = map(figure, figures)
        raw = json_object(head)
        planned, started = figure(raw.get("planned_at_ms")), figure(raw.get("started_at_ms"))
        assets: Any = raw.get("assets")
        if planned is None or started is None or not _are_symbols(assets):
            return None
        return cls(slot, planned, started, tuple(assets), {}, first_call, finished, calls or 0)

    def with_outcomes(self, texts: Sequence[str | bytes | None]) -> "BatchRecord":
        """Reads the outcome of each asset; one that cannot be read is none."""
        pairs = ((s, BatchOutcome.read(text)) for s, text in zip(self.assets, texts, strict=False))
        return replace(self, outcomes={symbol: outcome for symbol, outcome in pairs if outcome})

    @property
    def updated(self) -> list[str]:
        """Assets that are as fresh as they can be, in the batch's order."""
        return [s for s in self.assets if s in self.outcomes and self.outcomes[s].ok]

    @property
    def failed(self) -> list[tuple[str, str]]:
        """Assets that failed, each with its error."""
        rows = [(s, self.outcomes[s]) for s in self.assets if s in self.outcomes]
        return [(s, o.error or o.status) for s, o in rows if not o.ok]
