"""The batches: what one asks for, and the record of what became of it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class BatchOutcome:
    """What became of one asset of a batch."""

    status: str
    """updated, current (nothing newer can exist), retrying or failed"""
    error: str | None = None
    at_ms: int | None = None

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
    def of(
        cls, head: Mapping[str, Any], fields: Sequence[Any], outcomes: Sequence[Any]
    ) -> "BatchRecord":
        """Reads a record: its head, the numbers that change, and an outcome or None per asset."""
        calls, first_call, finished = (int(value) if value else None for value in fields)
        read = {
            symbol: json.loads(o) for symbol, o in zip(head["assets"], outcomes, strict=False) if o
        }
        return cls(
            slot=head["slot"],
            planned_at_ms=int(head["planned_at_ms"]),
            started_at_ms=int(head["started_at_ms"]),
            assets=tuple(head["assets"]),
            outcomes={
                symbol: BatchOutcome(o["status"], o.get("error") or None, o.get("at_ms"))
                for symbol, o in read.items()
            },
            first_call_at_ms=first_call,
            finished_at_ms=finished,
            calls=calls or 0,
        )

    @property
    def updated(self) -> list[str]:
        """Assets that are as fresh as they can be, in the batch's order."""
        return [s for s in self.assets if s in self.outcomes and self.outcomes[s].ok]

    @property
    def failed(self) -> list[tuple[str, str]]:
        """Assets that failed, each with its error."""
        rows = [(s, self.outcomes[s]) for s in self.assets if s in self.outcomes]
        return [(s, o.error or o.status) for s, o in rows if not o.ok]
