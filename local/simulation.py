"""What a plan is worth: the real scripts, run through a day in seconds.

The clock is simulated (every script takes `now_ms`), everything else is the queue and the quota as
they are. Calls take a while and are answered; the scheduler's slots come on time.
"""

import heapq
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import count

from queueing import Batch, Claimed, Done, Priority, PriorityQueue, QuotaLimiter, Request
from worker.call import Outcome

START_MS = 1_800_000_000_000  # a whole number of days, minutes and slots
MINUTE_MS = 60_000
SAMPLES = 480
SHARES = {Priority.HIGH: 0.08, Priority.MEDIUM: 0.32, Priority.LOW: 0.60}
"""How the assets that are not critical spread over the bands, roughly as in the catalogue."""


@dataclass(frozen=True)
class Scenario:
    """The load and the plan that are simulated."""

    assets: int = 300
    hours: float = 24.0
    tickers_per_call: int = 1
    critical: int = 3
    batch_minutes: int = 5
    secondary_minutes: int = 30
    endless: bool = False
    """A refreshed asset asks again at once: the queue never empties."""
    workers: int = 2
    answer_ms: tuple[int, int] = (60, 300)
    tick_ms: tuple[int, int] = (100, 1200)
    """How late a tick begins its work: the scheduler's pass and the worker's fork; or how early."""
    skip_every: int = 0
    """Every n-th slot has no worker for its batch; 0: every slot has one."""
    seed: int = 1
    bands: Mapping[int, int] = field(default_factory=dict)
    """Band → number of assets; empty: spread by `SHARES`."""


@dataclass
class Band:
    """One priority's share of the outcome; ages and waits in seconds."""

    assets: int = 0
    refreshes: int = 0
    age_sum_s: float = 0.0
    """Integral of the age of all assets over the time."""
    worst_age_s: float = 0.0
    longest_wait_s: float = 0.0
    ages: list[float] = field(default_factory=list)
    """Mean age of the band's prices, sampled evenly over the simulated span."""


@dataclass
class Result:
    """The outcome of a simulation."""

    scenario: Scenario
    bands: dict[Priority, Band]
    calls: int = 0
    possible_calls: float | None = None
    """Limit × span / (window + guard + mean answer); None without a limit."""
    idle_slot_share: float | None = None
    batches: int = 0
    worst_age_s: dict[str, float] = field(default_factory=dict)
    """Asset → the greatest age of its price."""
    critical_starts_ms: list[int] = field(default_factory=list)
    """How long after its slot each batch's first call was granted."""
    arrivals_ms: list[int] = field(default_factory=list)

    @property
    def utilisation(self) -> float | None:
        """Calls made of those possible."""
        return None if self.possible_calls is None else self.calls / self.possible_calls

    def mean_age_s(self, priority: Priority) -> float:
        """Mean age of a price of this band, over all its assets and the whole span."""
        band = self.bands[priority]
        return band.age_sum_s / max(1, band.assets) / (self.scenario.hours * 3600)


class Simulation:
    """One run on an empty Redis of its own. Every call brings what it asked for, unless `outcome`
    and `takes_ms` are overridden."""

    def __init__(self, queue: PriorityQueue, limiter: QuotaLimiter, scenario: Scenario) -> None:
        self._queue, self._limiter, self._scenario = queue, limiter, scenario
        self._random = random.Random(scenario.seed)  # noqa: S311 - reproducible, not secret
        self._now = START_MS
        self._end = START_MS + int(scenario.hours * 3600 * 1000)
        self._events: list[tuple[int, int, Callable[[], None]]] = []
        self._order = count()
        self._free_workers = scenario.workers
        self._timer: int | None = None
        self._started: set[str] = set()
        self._band_of = dict(assets_of(scenario))
        self._seen = dict.fromkeys(self._band_of, START_MS)
        self.result = Result(scenario, {priority: Band() for priority in Priority})
        for priority in self._band_of.values():
            self.result.bands[priority].assets += 1

    def run(self, progress: Callable[[float], None] = lambda share: None) -> Result:
        """Run to the end; `progress` hears the share that is done."""
        self._set_clock(START_MS)
        self._limiter.reset()
        if self._scenario.critical:  # as the scheduler does when it starts
            self._limiter.plan_batch(
                START_MS, self._scenario.batch_minutes * MINUTE_MS, self._scenario.critical
            )
        self._at(START_MS, lambda: self._batch(START_MS))
        self._at(START_MS, self._secondary)
        span = self._end - START_MS
        for part in range(SAMPLES):
            self._at(START_MS + span * (2 * part + 1) // (2 * SAMPLES), self._sample)
        told = 0
        while self._events and self._events[0][0] <= self._end:
            at, _, act = heapq.heappop(self._events)
            self._set_clock(at)
            act()
            self._claim_all()
            if (done := (at - START_MS) * 100 // span) > told:
                told = done
                progress(done / 100)
        self._set_clock(self._end)
        for symbol in self._seen:
            self._age(symbol, self._end)
        return self._finished()

    def _set_clock(self, at: int) -> None:
        self._now = at
        self._queue.now_ms = self._limiter.now_ms = at

    def _at(self, at: int, act: Callable[[], None]) -> None:
        heapq.heappush(self._events, (at, next(self._order), act))

    def _claim_all(self) -> None:
        """Every free worker claims until it must wait; one timer stands for the one that waits."""
        while self._free_workers:
            answer = self._queue.claim(max_items=self._scenario.tickers_per_call)
            if not isinstance(answer, Claimed):
                at = answer.hint.next_at_ms
                if at is not None and at != self._timer and at > self._now:
                    self._timer = at
                    self._at(at, lambda: None)
                return
            self._granted(answer)

    def _granted(self, claimed: Claimed) -> None:
        self._free_workers -= 1
        self.result.calls += 1
        took = self.takes_ms(claimed)
        self.result.arrivals_ms.append(self._now + took // 2)
        for item in claimed.items:
            band = self.result.bands[self._band_of[item.symbol]]
            waited = (self._now - item.enqueued_at_ms) / 1000
            band.longest_wait_s = max(band.longest_wait_s, waited)
        first = claimed.items[0]
        if first.batch and first.batch not in self._started:
            self._started.add(first.batch)
            self.result.critical_starts_ms.append(self._now - int(first.batch))
        self._at(self._now + took, lambda: self._answered(claimed))

    def takes_ms(self, claimed: Claimed) -> int:
        """How long a call lasts."""
        return self._random.randint(*self._scenario.answer_ms)

    def outcome(self, claimed: Claimed) -> Outcome | None:
        """What a call brings; None: its worker died, and another one starts."""
        return Outcome({item.symbol: Done(item.symbol) for item in claimed.items})

    def request(self, symbol: str) -> Request:
        """Asks for an asset."""
        return Request(symbol)

    def _answered(self, claimed: Claimed) -> None:
        self._free_workers += 1
        outcome = self.outcome(claimed)
        if outcome is None:
            return
        self._queue.end(
            claimed,
            list(outcome.verdicts.values()),
            answered=outcome.answered,
            sent=outcome.sent,
            failed=outcome.failed,
        )
        for symbol, verdict in outcome.verdicts.items():
            if not isinstance(verdict, Done):
                continue
            self._age(symbol, self._now)
            band = self._band_of[symbol]
            self.result.bands[band].refreshes += 1
            if self._scenario.endless and band is not Priority.CRITICAL:
                self._queue.enqueue([self.request(symbol)], band)

    def _age(self, symbol: str, until: int) -> None:
        """Add the age that a price had from its last refresh until now."""
        seen = (until - self._seen[symbol]) / 1000
        band = self.result.bands[self._band_of[symbol]]
        band.age_sum_s += seen * seen / 2
        band.worst_age_s = max(band.worst_age_s, seen)
        self.result.worst_age_s[symbol] = max(self.result.worst_age_s.get(symbol, 0.0), seen)
        self._seen[symbol] = until

    def _sample(self) -> None:
        for priority, band in self.result.bands.items():
            ages = [self._now - self._seen[s] for s, p in self._band_of.items() if p is priority]
            band.ages.append(sum(ages) / len(ages) / 1000 if ages else 0.0)

    def _batch(self, slot: int) -> None:
        interval = self._scenario.batch_minutes * MINUTE_MS
        following, early = slot + interval, min(0, self._scenario.tick_ms[0])
        self._at(following + early, lambda: self._batch(following))
        number = (slot - START_MS) // interval
        if self._scenario.skip_every and number % self._scenario.skip_every == 1:
            return
        late = self._random.randint(*self._scenario.tick_ms)
        self._at(max(self._now, slot + late), lambda: self._begin(slot, interval))

    def _begin(self, slot: int, interval: int) -> None:
        symbols = self._of(Priority.CRITICAL)
        calls = -(-len(symbols) // self._scenario.tickers_per_call)
        batch = Batch(str(slot), slot, slot + interval, interval, calls, tuple(symbols))
        self._queue.enqueue(map(self.request, symbols), Priority.CRITICAL, batch=batch)
        self.result.batches += 1

    def _secondary(self) -> None:
        self._at(self._now + self._scenario.secondary_minutes * MINUTE_MS, self._secondary)
        for priority in (Priority.HIGH, Priority.MEDIUM, Priority.LOW):
            symbols = sorted(self._of(priority), key=self._seen.__getitem__)
            self._queue.enqueue(map(self.request, symbols), priority)

    def _of(self, priority: Priority) -> list[str]:
        return [symbol for symbol, p in self._band_of.items() if p is priority]

    def _finished(self) -> Result:
        policy = self._queue.policy
        result = self.result
        if policy.limit is not None:
            span_ms = self._end - START_MS
            mean_ms = sum(self._scenario.answer_ms) / 2
            # The first window's places are free at once.
            result.possible_calls = (
                policy.limit * span_ms / (policy.window_ms + policy.guard_ms + mean_ms)
            )
            idle_ms = int(self._queue.redis.hget(self._queue.keys.counters, "idle_ms") or 0)
            result.idle_slot_share = idle_ms / (policy.limit * span_ms)
        return result


def assets_of(scenario: Scenario) -> Iterator[tuple[str, Priority]]:
    """The assets and their bands."""
    if scenario.bands:
        for number, size in scenario.bands.items():
            yield from ((f"{Priority(number).name}{i}", Priority(number)) for i in range(size))
        return
    others = scenario.assets - scenario.critical
    for number in range(scenario.critical):
        yield f"CRIT{number}", Priority.CRITICAL
    given: dict[Priority, int] = defaultdict(int)
    for number in range(others):
        # The band that lags furthest behind its share: a spread without a seed.
        band = max(SHARES, key=lambda p: SHARES[p] * (number + 1) - given[p])
        given[band] += 1
        yield f"{band.name}{number}", band
