"""The rules of queue and quota as a plain Python model, and the provider that judges the quota.

The model knows nothing of Redis: a dict of items and a dict of times. It is slow and obvious.
`Provider` stands for the other side: it stamps arrivals on its own clock and says when there were
too many.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import count

from queueing import Policy

CRITICAL, BACKFILL = 1, 6
LEASE_MS = 30_000


@dataclass
class ModelItem:
    priority: int
    order: int
    since_ms: int
    state: str = "queued"  # or delayed, leased
    due_ms: int = 0
    token: str | None = None
    lease_size: int = 0
    wanted: tuple[int, int] | None = None
    attempts: int = 0
    crashes: int = 0
    solo: bool = False
    deaths: int = 0


@dataclass
class Model:
    """What queue and quota must do; all times in ms of Redis' clock."""

    policy: Policy
    max_size: int = 1000
    items: dict[str, ModelItem] = field(default_factory=dict)
    poison: set[str] = field(default_factory=set)
    dead: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Of each item whose retries were spent since it was last refreshed: how often, and when."""
    permits: dict[str, int] = field(default_factory=dict)
    hold_ms: int = 0
    blocked_ms: int = 0
    last_grant_ms: int = 0
    known: bool = False
    slot_ms: int = 0
    interval_ms: int = 0
    batch_calls: int = 0
    _order: count[int] = field(default_factory=lambda: count(1))

    # --- the queue

    def enqueue(self, symbol: str, priority: int, now: int) -> str:
        item = self.items.get(symbol)
        if item:
            return self._raise(item, priority)
        if symbol in self.poison:
            return "dead"
        deaths, died_ms = self.dead.get(symbol, (0, 0))
        if deaths > 1 and now - died_ms < min(3_600_000, 300_000 * 2 ** (deaths - 2)):
            return "dead"
        if priority != CRITICAL and len(self.items) >= self.max_size:
            return "refused"
        self.items[symbol] = ModelItem(priority, next(self._order), now, deaths=deaths)
        return "enqueued"

    def _raise(self, item: ModelItem, priority: int) -> str:
        leased = item.state == "leased"
        standing = item.wanted[0] if leased and item.wanted else item.priority
        raised = priority < standing
        if raised and leased:
            item.wanted = (priority, next(self._order))
        elif raised:
            item.priority, item.order = priority, next(self._order)
        if priority == CRITICAL and item.state == "delayed":
            item.state = "queued"
        return "raised" if raised else "pending"

    def in_order(self, now: int) -> list[str]:
        """Critical first; else priority less the bands waited for, then age; FIFO in a band."""
        bands: dict[int, list[str]] = {}
        queued = [s for s, i in self.items.items() if i.state == "queued"]
        for symbol in sorted(queued, key=lambda s: self.items[s].order):
            bands.setdefault(self.items[symbol].priority, []).append(symbol)
        order = []
        while any(bands.values()):
            heads = [band[0] for band in bands.values() if band]
            best = min(heads, key=lambda s: self._urgency(s, now))
            order.append(bands[self.items[best].priority].pop(0))
        return order

    def _urgency(self, symbol: str, now: int) -> tuple[int, int, int]:
        item = self.items[symbol]
        urgency = item.priority
        if urgency not in (CRITICAL, BACKFILL) and self.policy.aging_ms:
            urgency = max(2, urgency - (now - item.since_ms) // self.policy.aging_ms)
        return urgency, item.since_ms, item.priority

    def reap(self, now: int) -> None:
        for item in self.items.values():
            if item.state == "delayed" and item.due_ms <= now:
                item.state = "queued"
        for symbol, item in list(self.items.items()):
            if item.state == "leased" and item.due_ms <= now:
                self._crashed(symbol, item)

    def _crashed(self, symbol: str, item: ModelItem) -> None:
        if item.lease_size > 1:
            item.solo = True
        else:
            item.crashes += 1
        if item.lease_size == 1 and item.crashes >= 3:
            del self.items[symbol]
            self.poison.add(symbol)
            return
        self._back(item, 0)

    def _back(self, item: ModelItem, due_ms: int) -> None:
        item.token = None
        item.state, item.due_ms = ("delayed" if due_ms else "queued"), due_ms
        if item.wanted and item.wanted[0] < item.priority:
            item.priority, item.order = item.wanted
        item.wanted = None

    def claim(self, token: str, now: int, max_items: int = 1) -> list[str]:
        """What is granted; nothing: no call or no work. Call `reap` and `look` before."""
        order = self.in_order(now)[:max_items]
        if not order or not self.may_call(now, urgent=self.items[order[0]].priority == CRITICAL):
            return []
        first = self.items[order[0]]
        company = [s for s in order if s == order[0] or not self.items[s].solo]
        taken = order[:1] if first.solo else company
        for symbol in taken:
            item = self.items[symbol]
            item.state, item.token, item.lease_size = "leased", token, len(taken)
            item.due_ms = now + LEASE_MS
        self.take_call(token, now)
        return taken

    def something_is_due(self, now: int) -> bool:
        """A claim would change something: a call is free for what is queued, or time moves one."""
        queued = [item for item in self.items.values() if item.state == "queued"]
        urgent = any(item.priority == CRITICAL for item in queued)
        moved = any(i.state != "queued" and i.due_ms <= now for i in self.items.values())
        return moved or (bool(queued) and self.may_call(now, urgent=urgent))

    def mine(self, symbol: str, token: str) -> ModelItem | None:
        item = self.items.get(symbol)
        return item if item and item.state == "leased" and item.token == token else None

    def end(self, verb: str, symbol: str, token: str, now: int, delay_ms: int = 0) -> bool:
        """complete, again, give_back, retry or bury; False: the lease was lost."""
        item = self.mine(symbol, token)
        if not item:
            return False
        if verb == "complete":
            self.dead.pop(symbol, None)
            del self.items[symbol]
            return True
        if verb == "bury" or (verb == "retry" and item.deaths):
            self.dead[symbol] = (item.deaths + 1, now)
            del self.items[symbol]
            return True
        if verb == "again":
            self.dead.pop(symbol, None)
            item.attempts = item.crashes = item.deaths = 0
            item.priority, item.since_ms, item.order = BACKFILL, now, next(self._order)
            delay_ms = 0
        if verb == "retry":
            item.attempts, item.crashes = item.attempts + 1, 0
            item.priority, item.order = 4, next(self._order)
        self._back(item, now + delay_ms if delay_ms else 0)
        return True

    # --- the quota

    def look(self, now: int) -> None:
        """The first look at an unknown server begins the hold."""
        if not self.known and self.policy.limit:
            self.known, self.hold_ms = True, now + self.policy.horizon_ms

    def forget(self, *, everything: bool) -> None:
        """FLUSHALL, or a restart that keeps the data."""
        self.known = False
        if everything:
            self.items.clear()
            self.poison.clear()
            self.dead.clear()
            self.permits.clear()
            self.hold_ms = self.blocked_ms = self.last_grant_ms = 0
            self.slot_ms = self.interval_ms = self.batch_calls = 0

    def slot(self, now: int) -> int:
        slot = self.slot_ms
        while self.interval_ms and now > slot + self.policy.grace_ms:
            slot += self.interval_ms
        return slot

    def may_call(self, now: int, *, urgent: bool) -> bool:
        """The rules, one by one."""
        p = self.policy
        if now < self.blocked_ms or now < self.last_grant_ms + p.spacing_ms:
            return False
        if p.limit is None:
            return True
        taken = [until for until in self.permits.values() if until > now]
        if now < self.hold_ms or len(taken) >= p.limit:
            return False
        if urgent or not self.interval_ms or not self.batch_calls:
            return True
        deadline = self.slot(now) + p.tolerance_ms
        beyond = sum(until > deadline for until in taken)
        fits = beyond + 1 + min(self.batch_calls, p.limit) <= p.limit
        return now + p.horizon_ms <= deadline or fits

    def take_call(self, token: str, now: int) -> None:
        """A permit that ended keeps its name until a call replaces it, oldest first."""
        self.last_grant_ms = now
        while self.policy.limit and len(self.permits) >= self.policy.limit:
            del self.permits[min(self.permits, key=lambda name: (self.permits[name], name))]
        self.permits[token] = now + self.policy.horizon_ms

    def answered(self, token: str, now: int) -> None:
        until = now + self.policy.window_ms + self.policy.guard_ms
        if token in self.permits:
            self.permits[token] = min(self.permits[token], until)

    def unanswered(self, token: str, now: int) -> None:
        """The request left, and nothing came: it may have arrived as late as now."""
        until = now + self.policy.window_ms + self.policy.guard_ms
        if token in self.permits:
            self.permits[token] = max(self.permits[token], until)

    def next_grant_ms(self, now: int, *, urgent: bool) -> int:
        """When a call goes at the earliest if only time passes: tries every ms that matters."""
        p = self.policy
        times = {now, self.blocked_ms, self.hold_ms, self.last_grant_ms + p.spacing_ms}
        times |= {*self.permits.values(), self.slot(now) + p.grace_ms + 1}
        return min(
            (t for t in times if t >= now and self.may_call(t, urgent=urgent)),
            default=now + 10 * p.horizon_ms + self.interval_ms,
        )


@dataclass
class Provider:
    """Counts arrivals in half-open windows, on a clock that runs slower than ours by `slow`."""

    limit: int
    window_us: int
    slow: float = 0.0
    arrivals_us: list[int] = field(default_factory=list)

    def will_arrive(self, at_us: int) -> None:
        self.arrivals_us.append(at_us)

    def worst(self) -> tuple[int, int]:
        """The most arrivals in any window, and when it began (µs of true time)."""
        stamps = sorted(round(at * (1 - self.slow)) for at in self.arrivals_us)
        worst, began, low = 0, 0, 0
        for high, stamp in enumerate(stamps):
            while stamp - stamps[low] >= self.window_us:
                low += 1
            if high - low + 1 > worst:
                worst, began = high - low + 1, stamps[low]
        return worst, began

    def check(self) -> None:
        worst, began = self.worst()
        assert worst <= self.limit, f"arrivals: {worst} in the window that began at {began} µs"
