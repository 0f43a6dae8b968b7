"""What goes into the queue and what comes out. Instants are milliseconds of Redis' clock."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any


class Priority(IntEnum):
    """The bands; a lower number goes first."""

    CRITICAL = 1
    HIGH = 2
    MEDIUM = 3
    LOW = 4
    BARS = 5
    """Bars of new days, behind all prices that have not waited for long."""
    BACKFILL = 6
    """Takes the calls that no other band needs: waiting does not raise it."""

    @classmethod
    def by_name(cls) -> Mapping[str, "Priority"]:
        """The bands that people may ask for, by name and by number."""
        bands = [band for band in cls if band <= cls.LOW]
        named = {band.name: band for band in bands}
        return named | {str(int(band)): band for band in bands}


class Outcome(StrEnum):
    """What became of one symbol in an enqueue."""

    ENQUEUED = "enqueued"
    RAISED = "raised"
    PENDING = "pending"
    REFUSED = "refused"
    DEAD = "dead"


class Death(StrEnum):
    """Why an item is in the dead letters, which decides when it may come back."""

    TRANSIENT = "transient"  # retries spent: with the next request; after a rest that grows
    INVALID = "invalid"  # the provider does not know it: after a day
    POISON = "poison"  # workers died refreshing it alone: by hand only


@dataclass(frozen=True)
class Request:
    """One symbol to enqueue, with whatever its worker needs to know."""

    symbol: str
    payload: Mapping[str, Any] = field(default_factory=dict)
    solo: bool = False
    """Never share a call with other items."""


def read_payload(text: Any) -> dict[str, Any]:
    """An item's payload; an empty one if an external writer made it unreadable: the worker of the
    item then finds out, and buries it, instead of dying of it with all that was claimed along."""
    try:
        payload = json.loads(text or "{}")
    except (ValueError, TypeError):
        return {}
    return payload if isinstance(payload, dict) else {}


@dataclass(frozen=True)
class Item:
    """A pending item."""

    symbol: str
    payload: dict[str, Any]
    priority: int
    enqueued_at_ms: int
    score: str = ""
    """Its place in the queue, kept beside the item only while it is leased or delayed."""
    attempts: int = 0
    crashes: int = 0
    solo: bool = False
    last_error: str | None = None
    batch: str | None = None
    version: int = 1
    wanted_priority: int | None = None
    group: str | None = None
    """It shares calls with items of this group only."""
    deaths: int = 0
    """How often its retries were spent since it was last refreshed."""

    @classmethod
    def from_reply(cls, raw: Mapping[str, Any]) -> "Item":
        """Reads an item as a script returns it; fields of a newer version are ignored."""
        known = {name: raw[name] for name in cls.__dataclass_fields__ if name in raw}
        return cls(**known | {"payload": read_payload(raw.get("payload"))})


@dataclass(frozen=True)
class Hint:
    """When a claim can next be answered differently, and what holds it until then."""

    now_ms: int
    next_at_ms: int | None = None
    reason: str | None = None
    """free, window, reserved, blocked, hold, policy, spacing, breaker, delayed, leased or version
    (what is queued is for workers of a newer version); None: no work."""
    waiter: bool = False
    """This drain is the one that waits."""
    waiting: bool = False
    """Another drain waits."""

    @classmethod
    def from_reply(cls, raw: Mapping[str, Any]) -> "Hint":
        """Reads the hint that ends most replies."""
        return cls(
            now_ms=raw["now_ms"],
            next_at_ms=raw.get("next_at_ms"),
            reason=raw.get("next_reason"),
            waiter=raw.get("waiter", False),
            waiting=raw.get("waiting", False),
        )

    @property
    def wait_ms(self) -> int | None:
        """How long until the next event; 0: now; None: nothing is pending."""
        return None if self.next_at_ms is None else max(0, self.next_at_ms - self.now_ms)


@dataclass(frozen=True)
class Claimed:
    """A granted call and the items leased to it. The token is lease and call id in one."""

    token: str
    items: tuple[Item, ...]
    granted_at_ms: int
    send_by_ms: int
    lease_until_ms: int
    hint: Hint


@dataclass(frozen=True)
class NotNow:
    """No call now: wait as the hint says, or leave if nothing is pending."""

    hint: Hint
    held_by: str | None = None
    """Why the most urgent item got no call, as in `Hint.reason`; None: nothing is queued."""


@dataclass(frozen=True)
class Enqueued:
    """What became of each symbol of one enqueue."""

    results: tuple[tuple[str, Outcome, str | None], ...]
    now_ms: int
    size: int
    waiting: bool
    """A drain waits, and was woken if that helps; otherwise the caller should start one."""
    exists: bool = False
    """The batch had been begun before; nothing was done."""

    def symbols(self, *outcomes: Outcome) -> list[str]:
        """The symbols with one of these outcomes."""
        return [symbol for symbol, outcome, _ in self.results if outcome in outcomes]


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
    outcomes: Mapping[str, "BatchOutcome"] = field(default_factory=dict)
    """What is known without a call, e.g. that nothing newer can exist."""
    ttl_ms: int = 24 * 3600 * 1000


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


@dataclass(frozen=True)
class Done:
    """A refreshed item and the event to publish for it."""

    symbol: str
    channel: str | None = None
    event: str | None = None


@dataclass(frozen=True)
class Retry:
    """Runs again after a delay, at this priority; counts an attempt."""

    symbol: str
    delay_ms: int
    priority: int
    error: str


@dataclass(frozen=True)
class Again:
    """A part of the item's work is done and more remains: it goes behind all that waits in the
    band `priority`, with attempts and crashes forgotten. The event is published."""

    symbol: str
    priority: int
    channel: str | None = None
    event: str | None = None


@dataclass(frozen=True)
class GiveBack:
    """Returns with its score as it was, counting no attempt."""

    symbol: str
    delay_ms: int = 0
    error: str | None = None
    solo: bool = False
    """It shares no further call: to find out whose fault a failure is."""
    group: str | None = None
    """It shares calls with items of this group only; see `split`."""


@dataclass(frozen=True)
class Bury:
    """Into the dead letters."""

    symbol: str
    kind: Death
    error: str


Verdict = Done | Again | Retry | GiveBack | Bury
"""How one item of a call ends."""


def split(claimed: Claimed, error: str) -> list[GiveBack]:
    """Verdicts for a call that failed because of one of its items, unknown which.

    Each half goes on in calls of its own, so that the culprit is alone after log2(n) failures and
    the others lose no attempt.
    """
    symbols = [item.symbol for item in claimed.items]
    middle = (len(symbols) + 1) // 2
    verdicts: list[GiveBack] = []
    for half in (symbols[:middle], symbols[middle:]):
        alone, group = len(half) == 1, f"{claimed.token.rpartition(':')[2]}-{len(verdicts)}"
        verdicts += [
            GiveBack(symbol, error=error, solo=alone, group=None if alone else group)
            for symbol in half
        ]
    return verdicts


@dataclass(frozen=True)
class DeadLetter:
    """An item that will not run again by itself, or not soon."""

    symbol: str
    kind: Death
    reason: str
    died_at_ms: int
    attempts: int
    crashes: int
    priority: int
    payload: dict[str, Any]
    version: int = 1
    deaths: int = 0
    """How often its retries were spent since it was last refreshed."""


@dataclass(frozen=True)
class Stats:
    """The queue in numbers."""

    queued: dict[Priority, int]
    delayed: int
    leased: int
    dead: int
    pending: int
    oldest_item_age_seconds: float
    hint: Hint
