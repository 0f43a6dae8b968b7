"""What goes into the queue and what comes out. Instants are milliseconds of Redis' clock."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Any, NamedTuple

from queueing.foreign import json_object


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
    return json_object(text)


class Item(NamedTuple):
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
        payload = read_payload(raw.get("payload"))
        return cls(payload=payload, **{name: raw[name] for name in raw.keys() & _KEPT_FIELDS})


_KEPT_FIELDS = frozenset(Item._fields) - {"payload"}


class Hint(NamedTuple):
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


class Claimed(NamedTuple):
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
