"""Which pending item goes next, as `queueing/lua/lib/order.lua` has it: bands, and ageing."""

from dataclasses import dataclass
from heapq import heappop, heappush

from health.waits import Listed
from queueing import Priority


@dataclass(frozen=True)
class Share:
    """With which other items an item shares a call."""

    key: str = ""
    most: int = 1
    """Items that one such call takes."""


@dataclass
class Queued:
    """An item, or a call of the next batch, on its way through the queue."""

    symbol: str
    priority: int
    since_ms: int
    score: float
    share: Share
    group: str | None = None
    solo: bool = False
    due_ms: int | None = None
    """When its own pause ends."""

    @classmethod
    def of(cls, one: Listed, share: Share) -> "Queued":
        """Make it of a pending item."""
        item = one.item
        priority = min(max(item.priority, Priority.CRITICAL), Priority.BACKFILL)
        score, due_ms = float(item.score), one.until_ms
        return cls(
            *(item.symbol, priority, item.enqueued_at_ms, score, share),
            *(item.group, item.solo, due_ms),
        )


class Bands:
    """What is queued, in the order in which calls take it at an instant."""

    def __init__(self, aging_ms: int) -> None:
        self._aging_ms = aging_ms
        self._heaps: dict[int, list[tuple[float, int, Queued]]] = {p: [] for p in Priority}
        self._pushed = 0

    def __bool__(self) -> bool:
        return any(self._heaps.values())

    def push(self, one: Queued) -> None:
        """Add an item."""
        self._pushed += 1
        heappush(self._heaps[one.priority], (one.score, self._pushed, one))

    def background(self) -> bool:
        """Work waits that the background share is kept for."""
        return any(self._heaps[p] for p in (Priority.HIGH, Priority.MEDIUM, Priority.LOW))

    def head(self, now_ms: int, *, background: bool = False) -> int | None:
        """The band whose first item goes next; `background`: of those between the ends."""
        bands = list(Priority)[1:-1] if background else list(Priority)
        heads = [(self._urgency(band, now_ms), band) for band in bands if self._heaps[band]]
        return min(heads)[1] if heads else None

    def pop(self, band: int) -> Queued:
        """Take the first item of a band."""
        return heappop(self._heaps[band])[2]

    def _urgency(self, band: int, now_ms: int) -> tuple[int, int]:
        since_ms = self._heaps[band][0][2].since_ms
        if band in (Priority.CRITICAL, Priority.BACKFILL) or not self._aging_ms:
            return band, since_ms
        aged = band - max(0, now_ms - since_ms) // self._aging_ms
        return max(Priority.HIGH, aged), since_ms
