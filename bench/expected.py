"""How right the expected instants are: the instant told at the request against that of the call.

    python -m bench.expected --hours 1        # the real scripts under a moved clock, each scenario

Every item is forecast when it is asked for: those of the rounds, and those that people ask for in
between. Listed are the items that nothing new overtook: nothing that was asked for later, the
batches excepted (a forecast reckons with them), was taken before.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from redis import Redis

from health.forecast import forecast
from health.order import Share
from health.outlook import Outlook
from health.waits import listing
from local.servers.valkey import ValkeyServer
from local.simulation import START_MS, Scenario, Simulation
from queueing import Claimed, Keys, Outcome, Policy, Priority, PriorityQueue, QuotaLimiter, Request

TOLERANCE_MS = 2_000
ASKED_EVERY_MS = 97_000


@dataclass
class Told:
    """What an item was told when it was asked for, and what came of it."""

    symbol: str
    asked_ms: int
    at_ms: int
    taken_ms: int | None = None
    overtaken: bool = False

    @property
    def error_ms(self) -> int:
        """How far from the instant told it was taken."""
        assert self.taken_ms is not None
        return self.taken_ms - self.at_ms


class Forecasting(Simulation):
    """A simulation in which each request is told its instant."""

    def __init__(self, queue: PriorityQueue, limiter: QuotaLimiter, scenario: Scenario) -> None:
        super().__init__(queue, limiter, scenario)
        self.told: list[Told] = []
        self._open: dict[str, Told] = {}
        self._at(START_MS + ASKED_EVERY_MS, self._asks)

    def _secondary(self) -> None:
        super()._secondary()
        self._tell()

    def _asks(self) -> None:
        """A person asks for one asset, now and then."""
        self._at(self._now + ASKED_EVERY_MS, self._asks)
        symbol = self._random.choice(sorted(self._band_of))
        band = self._random.choice([Priority.HIGH, Priority.MEDIUM, Priority.LOW])
        reply = self._queue.enqueue([Request(symbol)], band)
        if reply.symbols(Outcome.RAISED):  # it is a new request now
            self._open.pop(symbol, None)
        self._tell()

    def _tell(self) -> None:
        found = forecast(listing(self._queue, self._queue.size), self._outlook())
        for symbol, one in found.items():
            if symbol not in self._open and one.at_ms is not None and "CRIT" not in symbol:
                told = self._open[symbol] = Told(symbol, self._now, one.at_ms)
                self.told.append(told)

    def _outlook(self) -> Outlook:
        share = Share("price", self._scenario.tickers_per_call)
        return Outlook(
            self._limiter.status(),
            self._queue.policy,
            share_of=lambda item: share,
            batch_share=share,
            at_once=self._scenario.workers,
        )

    def _granted(self, claimed: Claimed) -> None:
        super()._granted(claimed)
        for item in claimed.items:
            told = self._open.pop(item.symbol, None)
            if told:
                told.taken_ms = self._now
            since = told.asked_ms if told else item.enqueued_at_ms
            if "CRIT" not in item.symbol:
                for other in self._open.values():
                    other.overtaken = other.overtaken or other.asked_ms < since


def measured(told: Sequence[Told]) -> tuple[int, int, float, int]:
    """Items that were taken, those of them that nothing overtook, the share of these within the
    tolerance, and the error that 95 % of them keep."""
    taken = [one for one in told if one.taken_ms is not None]
    clean = [one for one in taken if not one.overtaken]
    errors = sorted(abs(one.error_ms) for one in clean)
    right = sum(error <= TOLERANCE_MS for error in errors) / max(1, len(errors))
    p95_ms = errors[int(0.95 * (len(errors) - 1))] if errors else 0
    return len(taken), len(clean), right, p95_ms


def run(redis: Redis, policy: Policy, scenario: Scenario) -> Forecasting:
    """One scenario on an empty Redis."""
    redis.flushall()
    keys = Keys()
    simulation = Forecasting(
        PriorityQueue(redis, policy, keys=keys, max_size=10_000),
        QuotaLimiter(redis, policy, keys=keys),
        scenario,
    )
    simulation.run()
    return simulation


SCENARIOS = {
    "5 per 60 s, 150 assets, batch of 3": (Policy(), Scenario(assets=153)),
    "5 per 60 s, 150 assets, no batch": (Policy(), Scenario(assets=150, critical=0)),
    "5 per 60 s, 300 assets, batch of 3": (Policy(), Scenario(assets=303)),
    "20 per 60 s, 600 assets, batch of 3": (Policy(limit=20), Scenario(assets=603)),
    "5 per 60 s, 2,000 assets, 100 a call": (Policy(), Scenario(assets=2003, tickers_per_call=100)),
}


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=1.0)
    hours = parser.parse_args().hours
    print("| scenario | told and taken | not overtaken | within 2 s | 95 % within |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="assetq-bench-") as folder:
        server = ValkeyServer(Path(folder))
        server.start()
        with Redis.from_url(server.url, decode_responses=True) as redis:
            for name, (policy, scenario) in SCENARIOS.items():
                simulation = run(redis, policy, replace(scenario, hours=hours))
                taken, clean, right, p95_ms = measured(simulation.told)
                print(f"| {name} | {taken:,} | {clean:,} | {right:.1%} | {p95_ms / 1000:.1f} s |")
        server.kill()


if __name__ == "__main__":
    main()
