"""Random interleavings of several workers on fakeredis, against the plain model of the rules."""

from __future__ import annotations

from typing import Any

import fakeredis
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from queueing import (
    Again,
    Batch,
    Bury,
    Claimed,
    Death,
    Done,
    GiveBack,
    LeaseLost,
    NotNow,
    Policy,
    Request,
    Retry,
    Verdict,
)
from tests.kit.queueing import BACKFILL, LOW, NOW_MS, Kit
from tests.kit.queueing_model import LEASE_MS, Model, Provider

SYMBOLS = ["A", "B", "C", "D", "E", "F", "G"]
symbols = st.lists(st.sampled_from(SYMBOLS), min_size=1, max_size=4)
priorities = st.integers(1, 6)
steps_us = st.one_of(
    st.sampled_from([0, 1, 999, 1_000, 10_000, 100_000, 1_010_000, 1_110_000]),
    st.integers(0, 400_000),
)


class Workers(RuleBasedStateMachine):
    """Workers claim, end, stall and die in any order; true time is in µs, Redis floors it to ms."""

    @initialize(
        limit=st.sampled_from([None, 1, 2, 3, 3]),
        aging_ms=st.sampled_from([0, 300, 1_000]),
        spacing_ms=st.sampled_from([0, 0, 50]),
        max_size=st.sampled_from([3, 1000]),
        known=st.sampled_from([True, True, True, False]),
    )
    def begin(
        self, limit: int | None, aging_ms: int, spacing_ms: int, max_size: int, known: bool
    ) -> None:
        policy = Policy(limit, 1_000, 100, 10, spacing_ms, 50, 200, aging_ms)
        redis = fakeredis.FakeRedis(server=fakeredis.FakeServer(), decode_responses=True)
        self.kit = Kit(redis, policy, max_size=max_size)
        self.model = Model(policy, max_size)
        self.us = NOW_MS * 1_000
        self.provider = Provider(limit or 10**9, policy.window_ms * 1_000, slow=0.005)
        self.claims: list[tuple[Claimed, int]] = []
        self.slots = 0
        self.events: list[str] = []
        if known:
            self.kit.known()
            self.model.known = True

    @property
    def now(self) -> int:
        return self.us // 1_000

    # --- what may happen

    @rule(names=symbols, priority=priorities)
    def enqueue(self, names: list[str], priority: int) -> None:
        expected = [self.model.enqueue(name, priority, self.now) for name in names]
        assert self.kit.put(*names, at=priority) == expected

    @rule(
        arrivals_us=st.lists(
            st.one_of(st.sampled_from([0, 100_000]), st.integers(0, 100_000)),
            min_size=1,
            max_size=5,
        ),
        max_items=st.sampled_from([1, 1, 1, 3]),
    )
    def claim(self, arrivals_us: list[int], max_items: int) -> None:
        """As many workers claim at once; each call arrives so much later."""
        for arrives_us in arrivals_us:
            self.claim_one(max_items, arrives_us)

    def claim_one(self, max_items: int, arrives_us: int) -> None:
        self.model.reap(self.now)
        self.model.look(self.now)
        waiting = self.model.in_order(self.now)
        answer = self.kit.queue.claim(max_items=max_items)
        expected = self.granted(answer, max_items, arrives_us)
        if isinstance(answer, Claimed):
            return
        assert expected == [], "idle: a call was free and work was eligible"
        hint = answer.hint
        if waiting:
            urgent = self.model.items[waiting[0]].priority == 1
            earliest = self.model.next_grant_ms(self.now, urgent=urgent)
            assert hint.next_at_ms is not None
            assert self.now < hint.next_at_ms <= earliest, f"hint: {hint} but {earliest}"
        elif not self.model.items:
            assert hint.next_at_ms is None

    def granted(self, answer: Claimed | NotNow, max_items: int, arrives_us: int) -> list[str]:
        """What the model grants; the answer must be the same, where it is a call."""
        token = answer.token if isinstance(answer, Claimed) else "none"
        expected = self.model.claim(token, self.now, max_items)
        if isinstance(answer, Claimed):
            assert [item.symbol for item in answer.items] == expected, "order"
            self.provider.will_arrive(self.us + arrives_us)
            self.claims.append((answer, self.us + arrives_us))
        return expected

    @precondition(lambda self: self.claims)
    @rule(
        which=st.integers(0, 30),
        verb=st.sampled_from(
            ["complete", "complete", "complete", "again", "retry", "give_back", "bury"]
        ),
        answered=st.booleans(),
        delay_ms=st.sampled_from([0, 1, 300]),
        part=st.booleans(),
        then=st.sampled_from([0, 0, 1, 3]),
    )
    def end(
        self, which: int, verb: str, answered: bool, delay_ms: int, part: bool, then: int
    ) -> None:
        """Ends one claim, perhaps one that has ended or is lost already; claims up to `then` items
        in the same step."""
        claimed, arrives_us = self.claims[which % len(self.claims)]
        answered = answered and arrives_us <= self.us
        names = [item.symbol for item in claimed.items][: 1 if part else None]
        (self.model.answered if answered else self.model.unanswered)(claimed.token, self.now)
        expected = [
            name
            for name in names
            if not self.model.end(verb, name, claimed.token, self.now, delay_ms)
        ]
        try:
            verdicts = [_verdict(verb, name, claimed.token, delay_ms) for name in names]
            if then:
                self.end_and_claim(claimed, verdicts, answered, then)
            else:
                self.kit.queue.end(claimed, verdicts, answered=answered)
            lost = []
        except LeaseLost as error:
            lost = error.symbols
        assert sorted(lost) == sorted(expected), "lease"
        if verb in ("complete", "again"):
            self.events += [claimed.token for name in names if name not in lost]

    def end_and_claim(
        self, claimed: Claimed, verdicts: list[Verdict], answered: bool, max_items: int
    ) -> None:
        queue = self.kit.queue
        due = self.model.something_is_due(self.now)
        answer = queue.end_and_claim(claimed, verdicts, answered=answered, max_items=max_items)
        if due:
            self.model.reap(self.now)
            self.model.look(self.now)
        if isinstance(answer, Claimed) or due:
            expected = self.granted(answer, max_items, 0)
            assert isinstance(answer, Claimed) or expected == [], "idle: what is due is claimed"

    @precondition(lambda self: self.claims)
    @rule(which=st.integers(0, 30))
    def extend(self, which: int) -> None:
        claimed, _ = self.claims[which % len(self.claims)]
        owned = [self.model.mine(item.symbol, claimed.token) for item in claimed.items]
        for item in owned:
            if item:
                item.due_ms = self.now + LEASE_MS
        try:
            self.kit.queue.extend(claimed)
            assert all(owned), "lease"
        except LeaseLost:
            assert not all(owned), "lease"

    @rule()
    def reap(self) -> None:
        self.model.reap(self.now)
        self.kit.queue.reap()

    @rule(step_us=steps_us)
    def time_passes(self, step_us: int) -> None:
        self.us += step_us
        self.kit.now_ms = self.now

    @rule(
        names=symbols,
        arrivals_us=st.lists(st.sampled_from([0, 50_000, 100_000]), min_size=1, max_size=5),
    )
    def wait_and_work(self, names: list[str], arrivals_us: list[int]) -> None:
        """Requests come, and workers wait in place until the next event, however often it takes."""
        self.enqueue(names, 3)
        for arrives_us in arrivals_us:
            at = self.kit.queue.next_at().next_at_ms or 0
            self.us = max(self.us, at * 1_000)
            self.kit.now_ms = self.now
            self.claim_one(1, arrives_us)

    @rule(what=st.sampled_from(["leases", "block", "restart", "flush"]))
    def disturb(self, what: str) -> None:
        """All leases end; a 429; the server restarts with its data, or without."""
        if what == "leases":
            self.time_passes(LEASE_MS * 1_000)
        elif what == "block":
            self.kit.limiter.block(300, "429")
            self.model.blocked_ms = max(self.model.blocked_ms, self.now + 300)
        elif what == "flush":
            self.kit.redis.flushall()
            self.events.clear()
            self.model.forget(everything=True)
        elif self.kit.redis.hexists(self.kit.keys.quota, "epoch"):
            self.kit.redis.hset(self.kit.keys.quota, "epoch", "another server")
            self.model.forget(everything=False)

    @rule(in_ms=st.integers(1, 2_500), calls=st.integers(0, 4))
    def plan(self, in_ms: int, calls: int) -> None:
        self.kit.limiter.plan_batch(self.now + in_ms, 3_000, calls)
        self.model.slot_ms, self.model.interval_ms = self.now + in_ms, 3_000
        self.model.batch_calls = calls

    @rule(names=symbols, calls=st.integers(0, 3))
    def batch(self, names: list[str], calls: int) -> None:
        self.slots += 1
        names = list(dict.fromkeys(names))
        next_at = self.now + 3_000
        batch = Batch(str(self.slots), self.now, next_at, 3_000, calls, tuple(names))
        self.model.slot_ms, self.model.interval_ms = next_at, 3_000
        self.model.batch_calls = calls
        expected = [self.model.enqueue(name, 1, self.now) for name in names]
        reply = self.kit.queue.enqueue([Request(n) for n in names], 1, batch=batch)
        assert [row[1].value for row in reply.results] == expected

    # --- what must always hold

    @invariant()
    def the_provider_never_counted_too_many(self) -> None:
        if hasattr(self, "provider"):
            self.provider.check()

    @invariant()
    def every_pending_symbol_is_in_one_place(self) -> None:
        if not hasattr(self, "kit"):
            return
        keys, redis = self.kit.keys, self.kit.redis
        places = [redis.zrange(key, 0, -1) for key in (keys.queue, keys.delayed, keys.leases)]
        together = sorted(name for place in places for name in place)
        assert together == sorted(redis.smembers(keys.pending)) == sorted(redis.hkeys(keys.items))
        assert [set(place) for place in places] == [
            {s for s, i in self.model.items.items() if i.state == state}
            for state in ("queued", "delayed", "leased")
        ]

    @invariant()
    def each_completion_was_published_once(self) -> None:
        if hasattr(self, "kit"):
            entries: Any = self.kit.redis.xrange(self.kit.keys.updates)
            assert [fields["event"] for _, fields in entries] == self.events

    def teardown(self) -> None:
        if hasattr(self, "kit"):
            assert [item.symbol for item in self.kit.queue.peek(99)] == self.model.in_order(
                self.now
            )
            for name, item in self.model.items.items():
                stored = self.kit.item(name)
                failures = (stored.get("attempts", 0), stored.get("crashes", 0))
                assert failures == (item.attempts, item.crashes)
                assert stored["priority"] == item.priority
            self.kit.assert_no_leak()


def _verdict(verb: str, name: str, token: str, delay_ms: int) -> Verdict:
    if verb == "complete":
        return Done(name, f"asset:update:{name}", token)
    if verb == "again":
        return Again(name, BACKFILL, "c", token)
    if verb == "retry":
        return Retry(name, delay_ms, LOW, "x")
    if verb == "give_back":
        return GiveBack(name, delay_ms=delay_ms)
    return Bury(name, Death.TRANSIENT, "x")


Workers.TestCase.settings = settings(
    max_examples=45,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestWorkers = pytest.mark.slow(Workers.TestCase)
