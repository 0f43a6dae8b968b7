"""Scenarios with a hostile network, played in no time on the real scripts; each asserts a promise.

The tests run them as they are, and once more with one rule broken on purpose: then they must fail.
A seed makes each repeatable. True time runs in µs; Redis' clock floors it to ms.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field, replace

from redis import Redis

from queueing import Batch, Claimed, Done, GiveBack, LeaseLost, Policy, Request, Retry
from tests.kit.queueing import CRITICAL, HIGH, LOW, NOW_MS, Kit
from tests.kit.queueing_model import Model, Provider

POLICY = Policy(
    limit=3, window_ms=1_000, send_ms=100, guard_ms=10, tolerance_ms=100, grace_ms=300, aging_ms=0
)


@dataclass
class World:
    """Greedy workers, a provider whose clock is 0.5 % slow, and calls that arrive when it hurts."""

    redis: Redis
    seed: int
    policy: Policy = POLICY
    timeout_us: int = 400_000
    random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self.kit = Kit(self.redis, self.policy, max_size=10_000).known()
        self.model = Model(self.policy, known=True)
        self.provider = Provider(self.policy.limit or 1, self.policy.window_ms * 1_000, slow=0.005)
        self.us = NOW_MS * 1_000
        self.calls: list[tuple[int, int, bool, Claimed]] = []
        self.grants = 0

    @property
    def now(self) -> int:
        return self.us // 1_000

    def at(self, us: int) -> None:
        self.us = max(self.us, us)
        self.kit.now_ms = self.now

    def claim(self) -> Claimed | None:
        """One claim; checks that it was granted if the rules allow it."""
        self.model.look(self.now)
        first = self.kit.queue.peek()
        urgent = bool(first) and first[0].priority == CRITICAL
        answer = self.kit.queue.claim()
        if not isinstance(answer, Claimed):
            free = bool(first) and self.model.may_call(self.now, urgent=urgent)
            assert not free, f"idle: a call was free at {self.now}, told {answer.hint}"
            return None
        self.grants += 1
        self.model.take_call(answer.token, self.now)
        arrives_us = self.us + self.random.choice([0, 100_000, self.random.randrange(100_000)])
        self.provider.will_arrive(arrives_us)
        self.provider.check()
        # A time-out can come while the request is still on its way.
        answered = self.random.random() < 0.7
        wait_us = self.random.choice([0, 200, 30_000, self.timeout_us])
        ends_us = arrives_us + wait_us if answered else self.us + wait_us
        heapq.heappush(self.calls, (ends_us, self.grants, answered, answer))
        return answer

    def end_calls(self) -> None:
        """Ends every call whose time has come; now and then its worker died instead."""
        while self.calls and self.calls[0][0] <= self.us:
            _, _, answered, claimed = heapq.heappop(self.calls)
            if self.random.random() < 0.1:
                continue
            (self.model.answered if answered else self.model.unanswered)(claimed.token, self.now)
            try:
                self._end(claimed, answered)
            except LeaseLost:
                continue  # its lease ended, or Redis was flushed

    def _end(self, claimed: Claimed, answered: bool) -> None:
        """Background work starts over for ever; an urgent item is done with its call."""
        names = [item.symbol for item in claimed.items]
        if claimed.items[0].priority == CRITICAL:
            self.kit.queue.end(claimed, [Done(name) for name in names], answered=answered)
        else:
            back = [GiveBack(name) for name in names]
            self.kit.queue.end(claimed, back, answered=answered)

    def step(self, not_beyond: int | None = None) -> None:
        """To what comes next: a call ends, the hint or the model says so, or just later."""
        hint = self.kit.queue.next_at()
        times = [self.calls[0][0]] if self.calls else []
        if self.random.random() < 0.3:
            times.append(self.us + self.random.randrange(300_000))
        if hint.next_at_ms is not None and hint.next_at_ms > self.now:
            times.append(hint.next_at_ms * 1_000)
        free_ms = self.model.next_grant_ms(self.now, urgent=False)
        if free_ms > self.now:
            times.append(free_ms * 1_000)
        until = min(times, default=self.us + 1_000)
        self.at(until if not_beyond is None else min(until, not_beyond))
        self.end_calls()


def never_over_nor_idle(redis: Redis, seed: int, grants: int = 100) -> None:
    """Promises 1 and 2: arrivals <= limit in every window; no free call is refused."""
    world = World(redis, seed)
    while world.grants < grants:
        if world.redis.zcard(world.kit.keys.queue) < 4:
            world.kit.put(*[f"S{world.random.randrange(99)}" for _ in range(5)], at=LOW)
        while world.claim():
            pass
        accident = world.random.random()
        if accident < 0.02:
            world.redis.flushall()
            world.model.forget(everything=True)
        elif accident < 0.04 and world.redis.hexists(world.kit.keys.quota, "epoch"):
            world.redis.hset(world.kit.keys.quota, "epoch", "restarted")
            world.model.forget(everything=False)
        elif accident < 0.06 and world.redis.exists(world.kit.keys.window):
            world.redis.delete(world.kit.keys.window)
            if (
                world.model.last_grant_ms > world.now - POLICY.horizon_ms
                and world.model.hold_ms <= world.now
            ):
                world.model.forget(everything=False)
            world.model.permits.clear()
        world.step()
    world.provider.check()


def batches_start_in_time(redis: Redis, seed: int, cycles: int = 12) -> float:
    """Promise 4: with endless background work each batch call starts by its slot + tolerance.

    The tick may come late, within the grace; then the calls start at once. Returns how much of the
    quota was used.
    """
    interval = 4_000
    # A time-out later than the send budget keeps its place longer than was known at its grant.
    world = World(redis, seed, timeout_us=POLICY.send_ms * 1_000)
    slot = world.now + interval
    world.kit.limiter.plan_batch(slot, interval, 2)
    world.model.slot_ms, world.model.interval_ms, world.model.batch_calls = slot, interval, 2
    began = world.us
    for cycle in range(cycles):
        tick = slot + world.random.choice([0, 1, 99, 250])
        while world.now < tick:
            if world.redis.zcard(world.kit.keys.queue) < 4:
                world.kit.put(*[f"S{world.random.randrange(99)}" for _ in range(5)], at=LOW)
            while world.claim():
                pass
            world.step(not_beyond=(slot + 1) * 1_000 if world.now <= slot else tick * 1_000)
        names = (f"X{cycle}", f"Y{cycle}")
        batch = Batch(str(cycle), slot, slot + interval, interval, 2, names)
        world.kit.queue.enqueue([Request(n) for n in names], CRITICAL, batch=batch)
        world.model.slot_ms = slot + interval
        waiting = set(names)
        while waiting:
            while claimed := world.claim():
                waiting -= {item.symbol for item in claimed.items}
            late = world.now - max(slot + POLICY.tolerance_ms, tick)
            assert not waiting or late < 0, f"batch: still {waiting} {late} ms after the tolerance"
            if waiting:
                world.step()
        slot += interval
    possible = (world.us - began) / 1_000 / POLICY.horizon_ms * (POLICY.limit or 1)
    return world.grants / possible


def nothing_starves(redis: Redis, seed: int) -> None:
    """Promise 5: wait <= (p - 2) * aging + N / c, while HIGH work comes as fast as calls go."""
    aging, step = 500, 100
    kit = Kit(redis, replace(POLICY, limit=None, aging_ms=aging))
    names = [f"L{n}" for n in range(4)]
    kit.put(*[f"H{n}" for n in range(6)], at=HIGH)
    kit.put(*names, at=LOW)
    order = random.Random(seed)
    gone: dict[str, int] = {}
    for _ in range(100):
        claimed = kit.take()
        symbol = claimed.items[0].symbol
        gone.setdefault(symbol, kit.now_ms - NOW_MS)
        kit.queue.end(claimed, [Done(symbol)], answered=True)
        kit.now_ms += order.choice([step, step - 1])
        kit.put(symbol if symbol[0] == "H" else f"H{symbol}", at=HIGH)
    bound = (LOW - HIGH) * aging + 10 * step
    late = {name: gone.get(name) for name in names if gone.get(name, bound + 1) > bound}
    assert not late, f"starved: {late} with a bound of {bound} ms"


def leases_are_owned(redis: Redis, seed: int) -> None:
    """Promises 6 and 7: a zombie changes and publishes nothing; an item keeps its place."""
    kit = Kit(redis, replace(POLICY, limit=None))
    kit.put("A", "B", "C", at=LOW)
    zombie = kit.take()
    kit.now_ms += 30_000
    assert kit.take().items[0].symbol == "A", "order: a crashed item lost its place"
    for attempt in ("done", "retry"):
        try:
            if attempt == "done":
                kit.queue.end(zombie, [Done("A", "c", "zombie")], answered=True)
            else:
                kit.queue.end(zombie, [Retry("A", 0, LOW, "zombie")], answered=True)
        except LeaseLost:
            continue
        raise AssertionError(f"lease: a zombie could {attempt}")
    assert kit.redis.xlen(kit.keys.updates) == 0
    assert kit.where("A") == {"leases", "items", "pending"}
    bulk = [f"S{n}" for n in range(20)]
    random.Random(seed).shuffle(bulk)
    kit.put(*bulk, at=HIGH)
    assert kit.take_symbols(20) == bulk, "order: not first in, first out within a bulk"
