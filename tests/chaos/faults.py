"""What goes wrong in a run: a plan drawn from the seed, and the hand that carries it out."""

import heapq
import json
import os
import random
import re
import signal
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from local.servers.server import Server
from tests.chaos.evidence import PREFIX
from tests.chaos.fleet import Fleet, send
from tests.chaos.outside import TROUBLES, Outside
from tests.chaos.watch import now_ms
from tests.kit.roads import Road

PROCESS_KINDS = {
    "kill worker and work-horse": 2,
    "kill work-horse": 2,
    "kill worker alone": 2,
    "terminate worker": 2,
    "freeze worker": 2,
    "kill in a call": 5,
    "freeze in a call": 4,
    "kill scheduler": 2,
    "terminate scheduler": 2,
    "freeze scheduler": 1,
    "worker logs to a full disk": 1,
    "worker logs to a closed pipe": 1,
}
"""What befalls one process → how often in a round. Several may overlap."""
SHARED_KINDS = (
    *("kill and start valkey", "cut valkey", "slow valkey"),
    *("kill and start postgres", "cut postgres", "slow postgres"),
    *TROUBLES,
)
"""What befalls everybody, one at a time: each once in a round."""
KINDS = (*PROCESS_KINDS, *SHARED_KINDS)
KILLS = {kind for kind in PROCESS_KINDS if kind.startswith("kill")}
_GAP_S = (1.2, 4.0)
_SHARED_GAP_S = (2.5, 3.5)  # longer than aiming takes, so that two never overlap
_SHORT_S = (1.0, 4.0)
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


def plan(seed: int, seconds: float, workers: int, only: Collection[str] = KINDS) -> list[Fault]:
    """The same for the same arguments. All kinds come up, aimed ones the most often."""
    die = random.Random(seed)
    processes = [kind for kind, weight in PROCESS_KINDS.items() for _ in range(weight)]
    faults = []
    for kinds, gap_s in ((processes, _GAP_S), (SHARED_KINDS, _SHARED_GAP_S)):
        bag = [kind for kind in kinds if kind in only]
        at_s, left = 3.0, list[str]()
        while bag and (at_s := at_s + die.uniform(*gap_s)) < seconds:
            if not left:
                left = die.sample(bag, len(bag))
            kind = left.pop()
            for_s = TROUBLES[kind].for_s if kind in TROUBLES else die.uniform(*_SHORT_S)
            faults.append(Fault(at_s, kind, die.randrange(workers), for_s))
            at_s += for_s if kind in SHARED_KINDS else 0
    kept = [fault for fault in faults if fault.kind in SHARED_KINDS or not _quiet(fault, faults)]
    return sorted(kept, key=lambda fault: fault.at_s)


def _quiet(fault: Fault, faults: Sequence[Fault]) -> bool:
    """Tell whether processes are left alone at the time of this fault."""
    pauses = [
        (other.at_s - quiet_s, other.at_s + other.for_s)
        for other in faults
        if other.kind in TROUBLES and (quiet_s := TROUBLES[other.kind].quiet_s) is not None
    ]
    return any(since <= fault.at_s <= until for since, until in pauses)


def leased(redis: "Redis") -> dict[str, int]:
    """symbol → process id that holds its lease now; a token reads `drain@host-pid-token:…`."""
    symbols: Any = redis.zrange(f"{PREFIX}leases", 0, -1)
    raws = redis.hmget(f"{PREFIX}items", symbols) if symbols else []
    tokens = (json.loads(raw).get("token", "") if raw else "" for raw in raws)
    holder = re.compile(r"-(\d+)-[0-9a-f]+:[0-9a-f]+$")
    found = {symbol: holder.search(t) for symbol, t in zip(symbols, tokens, strict=True)}
    return {symbol: int(match[1]) for symbol, match in found.items() if match}


@dataclass
class Hand:
    """Carries faults out, and ends those that last. Knows nothing of the plan."""

    fleet: Fleet
    valkey: Server
    postgres: Server
    redis_road: Road
    postgres_road: Road
    outside: Outside
    frozen_s: float
    """How long a frozen process sleeps: beyond its lease."""
    die: random.Random
    counts: Counter[str] = field(default_factory=Counter)
    aimed: int = 0
    excused: list[tuple[int, int, str]] = field(default_factory=list)
    disturbances: int = 0
    deaths: Counter[str] = field(default_factory=Counter)
    troubles: list[tuple[int, int, str, list[str]]] = field(default_factory=list)
    _later: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _numbers: "count[int]" = field(default_factory=count)

    def strike(self, fault: Fault) -> None:
        """Does it now."""
        self.counts[fault.kind] += 1
        self.disturbances += len(self.fleet.workers) if fault.kind in SHARED_KINDS else 1
        if fault.kind in TROUBLES:
            self._trouble(fault.kind, fault.for_s)
        elif fault.kind in SHARED_KINDS:
            self._strike_server(fault)
        else:
            self._note_deaths()
            self._strike_process(fault)

    def _strike_process(self, fault: Fault) -> None:
        number = Fleet.SCHEDULER if fault.kind.endswith("scheduler") else fault.worker
        match fault.kind:
            case "kill worker and work-horse" | "kill scheduler":
                self.fleet.kill(number)
            case "kill worker alone":
                self.fleet.kill(number, with_horses=False)
            case "kill work-horse":
                self.fleet.kill_horse(number)
            case "terminate worker" | "terminate scheduler":
                self.fleet.terminate(number)
            case "freeze worker" | "freeze scheduler":
                self._freeze(number)
            case "kill in a call":
                self._aim(lambda pid: send(pid, signal.SIGKILL))
            case "freeze in a call":
                self._aim(self._thaw_later)
            case "worker logs to a full disk":
                with open("/dev/full", "wb") as full:
                    self.fleet.terminate(number, full)
            case "worker logs to a closed pipe":
                reader, writer = os.pipe()
                os.close(reader)
                with open(writer, "wb") as pipe:
                    self.fleet.terminate(number, pipe)
            case unknown:
                raise ValueError(f"no such fault: {unknown}")
        if number == Fleet.SCHEDULER:
            frozen = fault.kind.startswith("freeze")
            self._excuse(self.frozen_s + 1 if frozen else STARTING_S, "scheduler")

    def _strike_server(self, fault: Fault) -> None:
        of_valkey = fault.kind.endswith("valkey")
        road = self.redis_road if of_valkey else self.postgres_road
        match fault.kind.rpartition(" ")[0]:
            case "kill and start":
                self._restart(self.valkey if of_valkey else self.postgres)
            case "cut":
                self._cut(road, fault.for_s)
            case "slow":
                self._slow(road, fault.for_s)

    def _trouble(self, kind: str, for_s: float) -> None:
        """Begins it, and ends it later; what health says in between is judged."""
        began_ms, lasting = now_ms(), TROUBLES[kind].lasting(self.outside)
        lasting.__enter__()

        def end() -> None:
            self.troubles.append((began_ms, now_ms(), kind, list(TROUBLES[kind].words)))
            lasting.__exit__(None, None, None)
            self._excuse(STARTING_S, kind, since=began_ms / 1000)

        self._after(for_s, end)

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

    def _note_deaths(self) -> None:
        """Whatever is leased now may lose its process."""
        with self._redis() as redis, suppress(RedisError):  # away, or refusing
            self.deaths.update(leased(redis).keys())

    def _redis(self) -> "Redis":
        return Redis(port=self.valkey.port, decode_responses=True, socket_timeout=2)

    def _aim(self, what: Callable[[int], object]) -> None:
        """Stops a work-horse at a random moment of its call, and does it if it holds a lease."""
        deadline = time.monotonic() + _AIM_S
        with self._redis() as redis, suppress(RedisError):  # away, or refusing: another time
            while time.monotonic() < deadline:
                held = set(leased(redis).values())
                for pid in held & self.fleet.all_horses() - self.fleet.frozen:
                    time.sleep(self.die.uniform(0, _CALL_S))
                    if not self.fleet.freeze_pid(pid):
                        continue
                    symbols = [s for s, holder in leased(redis).items() if holder == pid]
                    if symbols:
                        what(pid)
                        self.aimed += 1
                        self.deaths.update(symbols)
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
        """No lease may be taken up until then (this machine's clock is that of Redis)."""
        now = time.time()
        self.excused.append((int((since or now) * 1000), int((now + seconds) * 1000), why))
