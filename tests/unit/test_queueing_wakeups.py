"""No lost wake-up: requests, waits, slice ends, stops and kills of several drains, in every order.

A drain here does what a real one does with the hints it gets; the pass of the scheduler is the net
for what could not be announced (a kill, or time that passes while no drain lives).
"""

from __future__ import annotations

from dataclasses import dataclass

import fakeredis
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from queueing import Claimed, Done, GiveBack, Hint, LeaseLost, Request, Retry
from tests.kit.queueing import LOW, Kit, limited

SOON_MS = 60_000


@dataclass
class Drain:
    """running: about to claim; working: has a call; waiting: until `until_ms` or a token."""

    state: str = "running"
    until_ms: int = 0
    claimed: Claimed | None = None


class Drains(RuleBasedStateMachine):
    @initialize(limit=st.sampled_from([1, 2, None]))
    def begin(self, limit: int | None) -> None:
        redis = fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=True)
        self.kit = Kit(redis, limited(limit=limit), lease_ms=3_000).known()
        self.drains: dict[str, Drain] = {}
        self.tick = False
        self.unannounced = False
        self.started = 0

    def tokens(self) -> int:
        return int(self.kit.redis.llen(self.kit.keys.wake))

    # --- what may happen

    @rule(name=st.sampled_from("ABCDE"), priority=st.sampled_from([1, 2, 4]))
    def request(self, name: str, priority: int) -> None:
        if not self.kit.queue.enqueue([Request(name)], priority).waiting:
            self.tick = True

    @precondition(lambda self: self.tick and len(self.drains) < 3)
    @rule()
    def a_worker_takes_the_tick(self) -> None:
        self.tick, self.started = False, self.started + 1
        self.drains[f"d{self.started}"] = Drain()

    @precondition(lambda self: self.drains)
    @rule(which=st.integers(0, 2), end=st.sampled_from(["complete", "time-out", "retry", "retry"]))
    def act(self, which: int, end: str) -> None:
        name, drain = self._one(which)
        if drain.state == "running":
            answer = self.kit.queue.claim(drain=name)
            if not isinstance(answer, Claimed):
                return self._follow(name, answer.hint)
            if answer.hint.wait_ms == 0 and not answer.hint.waiting:
                self.tick = True
            drain.state, drain.claimed = "working", answer
        elif drain.state == "working":
            self._follow(name, self._finish(name, drain, end))
        elif self.tokens():
            self.kit.redis.rpop(self.kit.keys.wake)
            drain.state = "running"
        elif drain.until_ms <= self.kit.now_ms:
            drain.state = "running"
        return None

    @precondition(lambda self: any(d.state != "working" for d in self.drains.values()))
    @rule(which=st.integers(0, 2))
    def slice_ends(self, which: int) -> None:
        name, drain = self._one(which)
        if drain.state != "working":
            self._leave(name)

    @precondition(lambda self: self.drains)
    @rule(which=st.integers(0, 2), with_token=st.booleans())
    def kill(self, which: int, with_token: bool) -> None:
        """SIGKILL, perhaps right after it read its token."""
        name, drain = self._one(which)
        if with_token and drain.state == "waiting":
            self.kit.redis.rpop(self.kit.keys.wake)
        del self.drains[name]
        self.unannounced = True

    @rule(step_ms=st.sampled_from([0, 1, 500, 1_010, 1_110, 3_000]))
    def time_passes(self, step_ms: int) -> None:
        self.kit.now_ms += step_ms
        waiter_at = int(self.kit.redis.hget(self.kit.keys.quota, "waiter_at") or 0)
        if waiter_at + 1_000 < self.kit.now_ms:
            self.kit.redis.delete(self.kit.keys.waiter)  # as its TTL does
        if not self.drains and not self.tick:
            self.unannounced = True

    @rule(
        names=st.lists(st.sampled_from("ABCDE"), max_size=3),
        end=st.sampled_from(["complete", "retry"]),
    )
    def a_while_of_work(self, names: list[str], end: str) -> None:
        """Requests come, workers take the ticks, and every drain acts a few times."""
        for name in names:
            self.request(name, 2)
        for turn in range(6):
            if self.tick and len(self.drains) < 3:
                self.a_worker_takes_the_tick()
            if self.drains:
                self.act(turn, end)

    @rule()
    def scheduler_pass(self) -> None:
        hint = self.kit.queue.reap()
        if hint.wait_ms == 0 and not hint.waiting:
            self.tick = True
        waiting = self.kit.redis.get(self.kit.keys.waiter)
        if waiting is None or waiting in self.drains:
            self.unannounced = False  # else a dead one's name stands until its TTL ends

    # --- how a drain follows its hints

    def _one(self, which: int) -> tuple[str, Drain]:
        name = sorted(self.drains)[which % len(self.drains)]
        return name, self.drains[name]

    def _finish(self, name: str, drain: Drain, end: str) -> Hint:
        assert drain.claimed
        symbol = drain.claimed.items[0].symbol
        try:
            if end == "complete":
                return self.kit.queue.end(drain.claimed, [Done(symbol)], answered=True, drain=name)
            back = GiveBack(symbol) if end == "time-out" else Retry(symbol, 2_000, LOW, "x")
            answered = end == "retry"
            return self.kit.queue.end(drain.claimed, [back], answered=answered, drain=name)
        except LeaseLost:
            return Hint(self.kit.now_ms, self.kit.now_ms)

    def _follow(self, name: str, hint: Hint) -> None:
        if hint.wait_ms == 0:
            self.drains[name] = Drain()
        elif hint.wait_ms is None or not hint.waiter or hint.reason == "leased":
            self._leave(name)
        else:
            self.drains[name] = Drain("waiting", hint.now_ms + hint.wait_ms)

    def _leave(self, name: str) -> None:
        woken, hint = self.kit.queue.retire(name)
        soon = hint.wait_ms is not None and hint.wait_ms <= SOON_MS and not hint.waiting
        if woken or (soon and hint.reason != "leased"):
            self.tick = True
        del self.drains[name]

    # --- what must always hold

    @invariant()
    def a_drain_will_look_in_time(self) -> None:
        if not hasattr(self, "kit") or self.unannounced:
            return
        hint = self.kit.queue.next_at()
        states = [drain.state for drain in self.drains.values()]
        if self.tick or "running" in states or self.tokens() or hint.next_at_ms is None:
            return
        waits = [d.until_ms for d in self.drains.values() if d.state == "waiting"]
        if waits:
            assert min(waits) <= hint.next_at_ms, f"lost wake-up: {hint}, {self.drains}"
        elif hint.reason != "leased" and hint.wait_ms == 0:
            assert "working" in states, f"lost wake-up: {hint}, no drain looks"

    @invariant()
    def at_most_one_waits(self) -> None:
        if hasattr(self, "kit") and not self.unannounced:
            waiting = [d for d in self.drains.values() if d.state == "waiting"]
            assert len([d for d in waiting if d.until_ms > self.kit.now_ms]) <= 1


Drains.TestCase.settings = settings(
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestDrains = pytest.mark.slow(Drains.TestCase)
