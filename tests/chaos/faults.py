"""What goes wrong in a run: a plan drawn from the seed, and the hand that carries it out."""

import heapq
import json
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from redis import Redis

from local.servers.server import Server
from tests.chaos.evidence import PREFIX
from tests.chaos.fleet import Fleet, send
from tests.kit.roads import Road

KINDS = (
    "kill worker and work-horse",
    "kill work-horse",
    "kill worker alone",
    "terminate worker",
    "freeze worker",
    "kill in a call",
    "freeze in a call",
    "kill scheduler",
    "terminate scheduler",
    "freeze scheduler",
    "kill and start valkey",
    "kill and start postgres",
    "cut valkey",
    "cut postgres",
    "slow valkey",
    "slow postgres",
)
KILLS = {kind for kind in KINDS if kind.startswith("kill")} - {
    "kill and start valkey",
    "kill and start postgres",
}
_WEIGHT = {
    "kill in a call": 5,
    "freeze in a call": 4,
    "kill and start valkey": 1,
    "kill and start postgres": 1,
    "freeze scheduler": 1,
}
_GAP_S = (1.2, 4.0)
_AIM_S = 2.0
_CALL_S = 0.03
STARTING_S = 5.0
"""A process that was started needs so long, on two busy cores, until it works."""


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong, so many seconds after the start."""

    at_s: float
    kind: str
    worker: int
    for_s: float

    def __str__(self) -> str:
        whom = f" {self.worker}" if "worker" in self.kind or "horse" in self.kind else ""
        return f"{self.at_s:6.1f} s  {self.kind}{whom}"


def plan(seed: int, seconds: float, workers: int) -> list[Fault]:
    """The same for the same arguments. All kinds come up, aimed ones the most often."""
    die = random.Random(seed)
    bag: list[str] = []
    faults: list[Fault] = []
    at_s = 3.0
    while (at_s := at_s + die.uniform(*_GAP_S)) < seconds:
        if not bag:
            bag = [kind for kind in KINDS for _ in range(_WEIGHT.get(kind, 2))]
            die.shuffle(bag)
        kind = bag.pop()
        faults.append(Fault(at_s, kind, die.randrange(workers), die.uniform(1.0, 4.0)))
    return faults


def holders(redis: "Redis") -> list[int]:
    """Process ids that hold a lease now; a token reads `drain@host-pid-token:…`."""
    leased: Any = redis.zrange(f"{PREFIX}leases", 0, -1)
    if not leased:
        return []
    items = [json.loads(raw) for raw in redis.hmget(f"{PREFIX}items", leased) if raw]
    found = (re.search(r"-(\d+)-[0-9a-f]+:[0-9a-f]+$", item.get("token", "")) for item in items)
    return [int(match[1]) for match in found if match]


def _hits_all(kind: str) -> bool:
    """Servers and roads are everybody's."""
    return "valkey" in kind or "postgres" in kind


@dataclass
class Hand:
    """Carries faults out, and ends those that last. Knows nothing of the plan."""

    fleet: Fleet
    valkey: Server
    postgres: Server
    redis_road: Road
    postgres_road: Road
    frozen_s: float
    """How long a frozen process sleeps: beyond its lease."""
    die: random.Random
    counts: Counter[str] = field(default_factory=Counter)
    aimed: int = 0
    excused: list[tuple[int, int, str]] = field(default_factory=list)
    disturbances: int = 0
    _later: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _numbers: "count[int]" = field(default_factory=count)

    def strike(self, fault: Fault) -> None:
        """Does it now."""
        self.counts[fault.kind] += 1
        one = len(self.fleet.workers)
        match fault.kind:
            case "kill worker and work-horse":
                self.fleet.kill(fault.worker)
            case "kill worker alone":
                self.fleet.kill(fault.worker, with_horses=False)
            case "kill work-horse":
                self.fleet.kill_horse(fault.worker)
            case "terminate worker":
                self.fleet.terminate(fault.worker)
            case "freeze worker":
                self._freeze(fault.worker)
            case "kill in a call":
                self._aim(lambda pid: send(pid, signal.SIGKILL))
            case "freeze in a call":
                self._aim(self._thaw_later)
            case "kill scheduler":
                self.fleet.kill(Fleet.SCHEDULER)
                self._excuse(STARTING_S, "scheduler")
            case "terminate scheduler":
                self.fleet.terminate(Fleet.SCHEDULER)
                self._excuse(STARTING_S, "scheduler")
            case "freeze scheduler":
                self._freeze(Fleet.SCHEDULER)
                self._excuse(self.frozen_s + 1, "scheduler")
            case "kill and start valkey":
                self._restart(self.valkey)
            case "kill and start postgres":
                self._restart(self.postgres)
            case "cut valkey":
                self._cut(self.redis_road, fault.for_s)
            case "cut postgres":
                self._cut(self.postgres_road, fault.for_s)
            case "slow valkey":
                self._slow(self.redis_road, fault.for_s)
            case "slow postgres":
                self._slow(self.postgres_road, fault.for_s)
            case unknown:
                raise ValueError(f"no such fault: {unknown}")
        self.disturbances += one if _hits_all(fault.kind) else 1

    def tick(self) -> None:
        """Ends what is over, and starts what ended by itself."""
        while self._later and self._later[0][0] <= time.monotonic():
            heapq.heappop(self._later)[2]()
        self.fleet.revive()

    def settle(self) -> None:
        """Ends everything that lasts."""
        while self._later:
            heapq.heappop(self._later)[2]()
        self.fleet.revive()

    def _after(self, seconds: float, what: Callable[[], None]) -> None:
        heapq.heappush(self._later, (time.monotonic() + seconds, next(self._numbers), what))

    def _freeze(self, number: int) -> None:
        frozen = self.fleet.freeze(number)
        self._after(self.frozen_s, lambda: self.fleet.thaw(frozen))

    def _aim(self, what: Callable[[int], object]) -> None:
        """Stops a work-horse at a random moment of its call, and does it if it holds a lease."""
        deadline = time.monotonic() + _AIM_S
        with Redis(port=self.valkey.port, decode_responses=True) as redis:
            while time.monotonic() < deadline:
                for pid in set(holders(redis)) & self.fleet.all_horses() - self.fleet.frozen:
                    time.sleep(self.die.uniform(0, _CALL_S))
                    if not self.fleet.freeze_pid(pid):
                        continue
                    if pid in holders(redis):
                        what(pid)
                        self.aimed += 1
                        return
                    self.fleet.thaw([pid])  # it was quicker
                time.sleep(0.002)

    def _thaw_later(self, pid: int) -> None:
        self._after(self.frozen_s, lambda: self.fleet.thaw([pid]))

    def _restart(self, server: Server) -> None:
        began = time.time()
        server.kill()
        server.start()
        self._excuse(STARTING_S, server.name, since=began)

    def _cut(self, road: Road, for_s: float) -> None:
        road.cut(close=True)
        self._excuse(for_s + STARTING_S, "cut")
        self._after(for_s, road.open)

    def _slow(self, road: Road, for_s: float) -> None:
        def restore() -> None:
            road.delay_s = lambda: 0.0

        road.delay_s = lambda: 0.15
        self._excuse(for_s + 1, "slow")
        self._after(for_s, restore)

    def _excuse(self, seconds: float, why: str, *, since: float | None = None) -> None:
        """Nobody may be able to take up a lease until then (this machine's clock is Redis')."""
        now = time.time()
        self.excused.append((int((since or now) * 1000), int((now + seconds) * 1000), why))
