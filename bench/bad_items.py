"""What assets cost that cannot be refreshed: one of each kind, through a simulated day.

    python -m bench.bad_items --hours 24

The queue's own scripts and the workers' own rules (`worker.call`, `worker.retry_policy`), with a
simulated clock: 5 calls per 60 s, one asset a call, three critical assets every five minutes and 82
others every thirty. Ten bad ones come on top: none of them, among the others, or as critical ones.
A price is late beyond 1.2 times its target, as on the page Freshness.
"""

import argparse
import tempfile
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from redis import Redis

from db.rows import SymbolRefresh, WriteResult
from health.freshness import SLACK
from local.sandbox import worst_window
from local.servers.valkey import ValkeyServer
from local.simulation import MINUTE_MS, Result, Scenario, Simulation, assets_of
from market.deadline import SendDeadline
from market.errors import (
    BadAnswer,
    BadRequest,
    InvalidTicker,
    MarketError,
    NotEntitled,
    NotFound,
    ProviderDown,
)
from market.feeds import Aggregates, Feed
from market.snapshots import Snapshot
from queueing import Claimed, Done, Policy, Priority, PriorityQueue, QuotaLimiter, Request
from worker.call import Call, Outcome
from worker.outcomes import outcome_of_error, outcome_of_write
from worker.retry_policy import RetryRules

CRITICAL, OTHERS = 3, 82
RULES = RetryRules()
NONE, AMONG_OTHERS, AS_CRITICAL = "none", "among the others", "critical, behind the good ones"
_TIMEOUT_MS, _LOCK_MS = 10_000, 5_000


@dataclass(frozen=True)
class Fault:
    """What happens in each call for an asset."""

    error: MarketError | None = None
    feed: Feed = field(default_factory=Snapshot)
    refused: str | None = None
    """Why PostgreSQL does not take its row."""
    busy: bool = False
    """Because another session holds the row."""
    took_ms: int | None = None
    """How long a call lasts; None: as any other."""


DEADLY = Fault()
"""The call never ends: its worker dies."""
FAULTS = {
    "the ticker is unknown": Fault(NotFound("ticker not found", status=404)),
    "the ticker is malformed": Fault(InvalidTicker("this is no ticker")),
    "the request is refused (400)": Fault(BadRequest("cannot be parsed", status=400)),
    "the plan lacks it": Fault(NotEntitled("not entitled", status=403), feed=Aggregates()),
    "the provider answers 500": Fault(ProviderDown("internal error", status=500)),
    "the provider does not answer": Fault(ProviderDown("no answer"), took_ms=_TIMEOUT_MS),
    "the answer is garbage": Fault(BadAnswer("this is no JSON", status=200)),
    "a constraint refuses its row": Fault(refused="violates a check"),
    "its row stays locked": Fault(refused="locked", busy=True, took_ms=_LOCK_MS),
    "it kills its worker": DEADLY,
}


class BadItems(Simulation):
    """A simulation in which some assets fail, each in its own way."""

    def __init__(
        self,
        queue: PriorityQueue,
        limiter: QuotaLimiter,
        scenario: Scenario,
        faults: Mapping[str, str],
    ) -> None:
        """`faults`: asset → its kind, of FAULTS."""
        super().__init__(queue, limiter, scenario)
        self._faults = faults
        self.spent: Counter[str] = Counter()
        """Kind → the calls that it took."""

    def request(self, symbol: str) -> Request:
        """Asks for an asset, as a worker understands it."""
        return Request(symbol, {"symbol": symbol, "ticker": f"X:{symbol}"})

    def takes_ms(self, claimed: Claimed) -> int:
        """How long a call lasts."""
        usual_ms = super().takes_ms(claimed)
        kind = self._faults.get(claimed.items[0].symbol)
        return usual_ms if kind is None else FAULTS[kind].took_ms or usual_ms

    def outcome(self, claimed: Claimed) -> Outcome | None:
        """What a call for one asset brings, by the workers' rules."""
        name = claimed.items[0].symbol
        stored = Outcome({name: Done(name)}, {name: SymbolRefresh(name, None)})
        if name not in self._faults:
            return stored
        kind = self._faults[name]
        self.spent[kind] += 1
        fault = FAULTS[kind]
        if fault is DEADLY:
            return None
        deadline = SendDeadline.after(1)
        call = Call(claimed, fault.feed, lambda work, at, count: fault.feed, deadline, "bench", 0)
        if fault.error:
            return outcome_of_error(call, fault.error, RULES)
        busy = frozenset([name] if fault.busy else [])
        written = WriteResult(refused={name: fault.refused or ""}, busy=busy)
        return outcome_of_write(call, stored, written, RULES)


@dataclass(frozen=True)
class Day:
    """What came of a simulation."""

    result: Result
    spent: Mapping[str, int]
    late: tuple[str, ...]
    """The good assets whose price was ever older than its target allows."""
    oldest_critical_s: float
    oldest_other_s: float
    """The greatest age of a good price."""

    @property
    def calls_of_bad(self) -> int:
        """The calls that the bad assets took."""
        return sum(self.spent.values())

    @property
    def share_of_bad(self) -> float:
        """Their share of all calls that were made."""
        return self.calls_of_bad / self.result.calls


def simulate(redis: Redis, hours: float, *, bad: str) -> Day:
    """Runs on an empty Redis. `bad`: NONE, AMONG_OTHERS or AS_CRITICAL."""
    kinds = list(FAULTS) if bad != NONE else []
    critical = CRITICAL + (len(kinds) if bad == AS_CRITICAL else 0)
    scenario = Scenario(assets=CRITICAL + OTHERS + len(kinds), critical=critical, hours=hours)
    bands = dict(assets_of(scenario))
    if bad == AS_CRITICAL:
        able = [symbol for symbol, band in bands.items() if band is Priority.CRITICAL][CRITICAL:]
    else:
        others = [symbol for symbol, band in bands.items() if band is not Priority.CRITICAL]
        able = others[:: len(others) // len(FAULTS)]
    faults = dict(zip(able, kinds, strict=False))
    policy = Policy()
    simulation = BadItems(
        PriorityQueue(redis, policy), QuotaLimiter(redis, policy), scenario, faults
    )
    result = simulation.run()
    return _day(result, simulation.spent, {s: bands[s] for s in bands if s not in faults})


def _day(result: Result, spent: Mapping[str, int], good: Mapping[str, Priority]) -> Day:
    minutes = result.scenario.batch_minutes, result.scenario.secondary_minutes
    ages = {
        critical: {
            s: result.worst_age_s[s] for s in good if (good[s] is Priority.CRITICAL) is critical
        }
        for critical in (True, False)
    }
    late = [
        symbol
        for limit_s, of in zip((60 * SLACK * m for m in minutes), ages.values(), strict=True)
        for symbol, age in of.items()
        if age > limit_s
    ]
    return Day(
        result, dict(spent), tuple(late), max(ages[True].values()), max(ages[False].values())
    )


def _row(bad: str, day: Day) -> str:
    window = worst_window(day.result.arrivals_ms, MINUTE_MS)
    share = f"{day.calls_of_bad} ({day.share_of_bad:.1%})"
    ages = f"{day.oldest_critical_s:.0f} s | {day.oldest_other_s / 60:.1f} min"
    return f"| {bad} | {day.result.calls:,} | {share} | {ages} | {len(day.late)} | {window} |"


def main() -> None:
    """Prints two Markdown tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=24)
    hours = parser.parse_args().hours
    days = {}
    with tempfile.TemporaryDirectory(prefix="assetq-bench-") as folder:
        server = ValkeyServer(Path(folder))
        server.start()
        with Redis.from_url(server.url, decode_responses=True) as redis:
            for bad in (NONE, AMONG_OTHERS, AS_CRITICAL):
                redis.flushall()
                days[bad] = simulate(redis, hours, bad=bad)
        server.kill()
    print(
        "| ten bad assets | calls | of them for bad ones | oldest critical price | oldest other "
        "price | late good assets | worst window |"
    )
    print("|---" * 7 + "|")
    for bad, day in days.items():
        print(_row(bad, day))
    print("\n| what is bad | calls, as another asset | as a critical one |\n|---|---|---|")
    for kind in FAULTS:
        print(f"| {kind} | {days[AMONG_OTHERS].spent[kind]} | {days[AS_CRITICAL].spent[kind]} |")


if __name__ == "__main__":
    main()
