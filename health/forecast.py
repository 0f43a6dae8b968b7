"""The forecast: the next calls, played forward one by one until every pending item has its own.

It plays the rules of claims and grants: bands with ageing, the background share, permits, the
reservation, holds and pauses, and the items that one call takes together. It assumes that
the next batches come, that calls succeed, and that no other item is enqueued. Pure, and O(n log n)
for n items; items that it is not given play no part.
"""

from bisect import insort
from collections.abc import Sequence
from heapq import heappop, heappush
from math import ceil

from health import holds
from health.causes import Cause
from health.expected import BATCH, Expected, PermitEnd
from health.order import Bands, Queued
from health.outlook import Outlook
from health.waits import Listed
from queueing import Priority, PriorityQueue, QuotaStatus

BATCH_STARTS_MS = 1_000
"""How long after its slot a batch usually makes its first call."""
FIRST_ANSWER_MS = 300
"""How long a call takes where none was answered yet."""
_FURTHEST_MS = 2 * 24 * 3_600_000
"""No forecast goes beyond: what a batch keeps from its turn might never come."""
_LEAST_MS, _MOST_CALLS = 1_000, 1_000
"""No batch comes sooner after another, and of its calls more than fit before the next one, or so
many without a limit, tell nothing new: an external writer may have spoilt what stands in Redis."""
_BAND = 10**13
_HELD = ("policy", "blocked", "spacing", "breaker", "hold")


def forecast(listed: Sequence[Listed], outlook: Outlook) -> dict[str, Expected]:
    """Return symbol → what is expected of it."""
    found = {
        one.item.symbol: Expected(None, None, holds.wait("leased", one.until_ms))
        for one in listed
        if one.state == "leased"
    }
    rest = [one for one in listed if one.item.symbol not in found]
    waiting = [one for one in rest if one.item.version <= PriorityQueue.item_version]
    newer = Expected(None, None, holds.wait("version", None))
    found |= {one.item.symbol: newer for one in rest}
    taken = _Calls(waiting, _flying(listed, outlook), outlook).run()
    for one in waiting:
        known = taken.get(one.item.symbol, Expected(None, None))
        if outlook.stopped:
            known = Expected(known.rank, None, outlook.stopped)
        found[one.item.symbol] = known
    return found


def _flying(listed: Sequence[Listed], outlook: Outlook) -> list[PermitEnd]:
    """The permits in use; those of calls in flight end a window after the answer that is due."""
    quota, policy = outlook.quota, outlook.policy
    asked: dict[str, tuple[str, ...]] = {}
    for one in listed:
        if one.call_id:
            asked[one.call_id] = (*asked.get(one.call_id, ()), one.item.symbol)
    found = []
    for permit in quota.permits:
        until_ms, call_id = permit.until_ms, permit.call_id
        if call_id in asked:
            answer_ms = max(quota.now_ms, until_ms - policy.horizon_ms + _answer_ms(quota))
            until_ms = min(until_ms, answer_ms + policy.window_ms + policy.guard_ms)
        symbols = asked.get(call_id) or outlook.owners.get(call_id, ())
        found.append(PermitEnd(until_ms, symbols, call_id))
    if found and (unlisted := quota.in_use - len(found)) > 0:  # only the first hundred are listed
        last_ms = found[-1].until_ms
        step_ms = max(0, quota.now_ms + policy.window_ms - last_ms) / unlisted
        found += [PermitEnd(last_ms + int(step_ms * i)) for i in range(1, unlisted + 1)]
    return sorted(found, key=_until)


def _until(permit: PermitEnd) -> int:
    return permit.until_ms


def _answer_ms(quota: QuotaStatus) -> int:
    return round(quota.answer_ms) or FIRST_ANSWER_MS


class _Calls:
    """The next calls in order, until every item has one."""

    def __init__(
        self, waiting: Sequence[Listed], permits: list[PermitEnd], outlook: Outlook
    ) -> None:
        quota = self._quota = outlook.quota
        self._outlook, self._policy = outlook, outlook.policy
        self._began_ms = self._now_ms = quota.now_ms
        self._permits = permits
        self._batch_at_ms = quota.batch_at_ms if quota.batch_interval_ms >= _LEAST_MS else 0
        self._batch_calls = min(quota.batch_calls, ceil(quota.calls_per_batch or _MOST_CALLS))
        self._bands = Bands(self._policy.aging_ms)
        self._left = len(waiting)
        self._run = quota.urgent_run
        self._coming: list[tuple[int, int, Queued]] = []
        self._found: dict[str, Expected] = {}
        for number, one in enumerate(waiting):
            queued = Queued.of(one, outlook.share_of(one.item))
            if one.until_ms is None:
                self._bands.push(queued)
            else:
                heappush(self._coming, (one.until_ms, number, queued))

    def run(self) -> dict[str, Expected]:
        """Make calls until all items are taken; those that are not are left out."""
        held: Cause | None = None
        while self._left and self._now_ms - self._began_ms < _FURTHEST_MS:
            self._arrive()
            head = self._head()
            at_ms, cause = self._free_at(head) if head else (None, None)
            arrives_ms = self._next_arrival()
            if head is None or (at_ms and at_ms > self._now_ms):
                if at_ms is None or (arrives_ms and arrives_ms < at_ms):
                    at_ms = arrives_ms
                assert at_ms is not None
                self._now_ms, held = at_ms, held or cause
            elif self._grant(head, held):
                held = None
        return self._found

    def _arrive(self) -> None:
        """Queue what is due by now: delayed items, and the calls of the next batch."""
        while self._coming and self._coming[0][0] <= self._now_ms:
            self._bands.push(heappop(self._coming)[2])
        quota = self._quota
        if self._batch_at_ms and self._batch_at_ms + BATCH_STARTS_MS <= self._now_ms:
            at_ms, share = self._batch_at_ms, self._outlook.batch_share
            for _ in range(self._batch_calls):
                self._bands.push(Queued(BATCH, Priority.CRITICAL, at_ms, _BAND + at_ms, share))
            self._batch_at_ms += quota.batch_interval_ms

    def _next_arrival(self) -> int | None:
        times = [self._coming[0][0]] if self._coming else []
        if self._batch_at_ms:
            times.append(self._batch_at_ms + BATCH_STARTS_MS)
        return min(times, default=None)

    def _share_is_due(self) -> bool:
        share = self._policy.background_share
        return share > 0 and self._run >= share - 1

    def _head(self) -> int | None:
        head = self._bands.head(self._now_ms)
        if head == Priority.CRITICAL and self._share_is_due():
            return self._bands.head(self._now_ms, background=True) or head
        return head

    def _free_at(self, head: int) -> tuple[int, Cause | None]:
        """When the next call may go, and what holds it until then (see `lib/grants.lua`)."""
        at_ms, reason = self._quota.urgent
        if reason not in _HELD or at_ms <= self._now_ms:
            at_ms, reason = self._now_ms, "free"
        if self._policy.limit is not None:
            window_ms = self._last_end(self._policy.limit)
            if window_ms > at_ms:
                at_ms, reason = window_ms, "window"
            if head != Priority.CRITICAL and not self._share_is_due():
                reserved_ms = self._reserved_until(at_ms, self._policy.limit)
                if reserved_ms > at_ms:
                    at_ms, reason = reserved_ms, "reserved"
        return at_ms, self._cause(reason, at_ms)

    def _cause(self, reason: str, until_ms: int) -> Cause | None:
        match reason:
            case "free":
                return None
            case "blocked":
                return holds.blocked(self._quota, None)
            case "breaker":
                return holds.breaker(self._quota)
            case "hold":
                return holds.hold(self._quota)
            case "policy" if self._quota.mismatch:
                return holds.policy(self._quota.mismatch)
        return holds.wait(reason, until_ms)

    def _last_end(self, number: int) -> int:
        """When the `number`-th last of the permits ends; 0: there are fewer."""
        return self._permits[-number].until_ms if len(self._permits) >= number else 0

    def _reserved_until(self, at_ms: int, limit: int) -> int:
        policy, calls = self._policy, self._quota.batch_calls
        deadline_ms = self._batch_at_ms + policy.tolerance_ms
        if not calls or not self._batch_at_ms or at_ms + policy.horizon_ms <= deadline_ms:
            return 0
        given_up_ms = self._batch_at_ms + policy.grace_ms + 1
        spare = limit - min(calls, limit)
        if spare == 0:
            return given_up_ms
        ends_ms = self._last_end(spare)
        return min(given_up_ms, ends_ms) if ends_ms > deadline_ms else 0

    def _grant(self, head: int, held: Cause | None) -> bool:
        """One call: what it takes, whose permit it replaces, and until when its own lasts. False:
        it took nothing but assets of the batch."""
        taken = self._take(head)
        critical = head == Priority.CRITICAL
        self._run = self._run + min(1, self._bands.background()) if critical else 0
        symbols = tuple(dict.fromkeys(one.symbol for one in taken))
        replaced = self._replace(symbols)
        for one in taken:
            if one.symbol != BATCH:
                self._found[one.symbol] = self._expected(one, held, replaced)
                self._left -= 1
        took_ms = _answer_ms(self._quota) // self._outlook.at_once
        self._now_ms += max(took_ms, self._policy.spacing_ms)
        return any(symbol != BATCH for symbol in symbols)

    def _replace(self, symbols: tuple[str, ...]) -> PermitEnd | None:
        """Give the call a permit; return the one that had to end for it."""
        policy, limit = self._policy, self._policy.limit
        if limit is None:
            return None
        replaced = None
        if len(self._permits) >= limit:
            replaced = self._permits[-limit]
            del self._permits[: len(self._permits) - limit + 1]
        lasts_ms = _answer_ms(self._quota) + policy.window_ms + policy.guard_ms
        insort(self._permits, PermitEnd(self._now_ms + lasts_ms, symbols), key=_until)
        return replaced if replaced and replaced.until_ms > self._began_ms else None

    def _expected(self, one: Queued, held: Cause | None, replaced: PermitEnd | None) -> Expected:
        rank = len(self._found) + 1
        if one.due_ms is not None and held is None:
            return Expected(rank, self._now_ms, holds.wait("delayed", one.due_ms))
        if held is None and replaced:
            held = holds.wait("window", replaced.until_ms)
        freed_by = replaced if held and held.key == "window" else None
        return Expected(rank, self._now_ms, held, freed_by)

    def _take(self, band: int) -> list[Queued]:
        """The first item, and those that share its call."""
        first = self._bands.pop(band)
        probing = self._quota.breaker.open and not self._found
        if first.solo or first.share.most == 1 or probing:
            return [first]
        taken, left = [first], list[Queued]()
        for _ in range(self._outlook.batch_share.most - 1):
            head = self._bands.head(self._now_ms)
            if head is None or len(taken) == first.share.most:
                break
            one = self._bands.pop(head)
            mine = not one.solo and (one.group, one.share.key) == (first.group, first.share.key)
            (taken if mine else left).append(one)
        for one in left:
            self._bands.push(one)
        return taken
