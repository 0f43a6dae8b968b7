"""Pending items as they stand in Redis: leased, queued, delayed. Reads and changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from health.texts import clock, iso
from queueing import Item, Priority
from queueing.foreign import figure, figures, json_object
from queueing.views import QueueView

_AT_ONCE = 500
_FIGURES = {"priority", "enqueued_at_ms", "attempts", "crashes"}


@dataclass(frozen=True)
class Listed:
    """One pending item and its state."""

    item: Item
    state: str
    """queued, delayed or leased"""
    until_ms: int | None = None
    """When a delayed item may run again, or a lease ends; None for a queued item."""
    call_id: str | None = None
    """The call that a leased item shares, which is also the id of its permit."""

    @property
    def by(self) -> str | None:
        """The worker that holds the lease."""
        return self.call_id and (self.call_id.rpartition(":")[0] or "unknown")

    def text(self, now_ms: int) -> str:
        """The state for people."""
        if self.until_ms is None:
            return self.state
        until = clock(self.until_ms, now_ms)
        return f"delayed until {until}" if self.by is None else f"leased by {self.by} until {until}"

    def as_dict(self, now_ms: int) -> dict[str, Any]:
        """With stable keys, for --json."""
        item = self.item
        return {
            "symbol": item.symbol,
            "state": self.state,
            "priority": band_name(item.priority),
            "score": item.score,
            "enqueued_at": iso(item.enqueued_at_ms),
            "waited_seconds": waited_s(item, now_ms),
            "attempts": item.attempts,
            "crashes": item.crashes,
            "last_error": item.last_error,
            "until": iso(self.until_ms),
            "by": self.by,
            "batch": item.batch,
            "wanted_priority": item.wanted_priority and band_name(item.wanted_priority),
        }


def listing(queue: QueueView, limit: int) -> list[Listed]:
    """Leased items, then queued ones in the order of claims, then delayed ones by time."""
    held = leased(queue, limit)
    left = limit - len(held)
    queued = [Listed(item, "queued") for item in queue.peek(left)[:left]] if left else []
    return [*held, *queued, *delayed(queue, left - len(queued))]


def leased(queue: QueueView, limit: int) -> list[Listed]:
    """Leased items, those whose lease ends first in front."""
    return _held(queue, queue.keys.leases, "leased", limit)


def delayed(queue: QueueView, limit: int) -> list[Listed]:
    """Delayed items, those that may run first in front."""
    return _held(queue, queue.keys.delayed, "delayed", limit)


def _held(queue: QueueView, key: str, state: str, limit: int) -> list[Listed]:
    """Items of a set ordered by time. Those that end between the two reads are left out."""
    if limit < 1:
        return []
    rows: list[Any] = list(queue.redis.zrange(key, 0, limit - 1, withscores=True))
    ahead_ms = queue.clock_ahead_ms() if rows else 0
    found = []
    for start in range(0, len(rows), _AT_ONCE):
        part = rows[start : start + _AT_ONCE]
        texts: Any = queue.redis.hmget(queue.keys.items, [symbol for symbol, _ in part])
        for (symbol, until_ms), text in zip(part, texts, strict=True):
            raw, at_ms = _read(text), figure(until_ms)
            if raw is not None and at_ms is not None:
                item = Item.from_reply(raw | {"symbol": symbol})
                call_id = str(raw.get("token", "unknown")) if state == "leased" else None
                found.append(Listed(item, state, at_ms - ahead_ms, call_id))
    return found


def _read(text: str | None) -> dict[str, Any] | None:
    """An item as the scripts write it; None for one that is gone or damaged."""
    raw = json_object(text)
    told = figures({"attempts": 0, "crashes": 0} | raw)
    whole = raw.keys() >= {"payload", "score"} and told.keys() >= _FIGURES
    return raw | {name: told[name] for name in _FIGURES} if whole else None


def band_name(priority: int) -> str:
    """The name of a band, such as CRITICAL or BARS; any other number as it is."""
    try:
        return Priority(priority).name
    except ValueError:
        return str(priority)


def waited_s(item: Item, now_ms: int) -> float:
    """How long ago an item was requested."""
    return max(0, now_ms - item.enqueued_at_ms) / 1000
