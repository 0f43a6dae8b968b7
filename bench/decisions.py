"""What one decision of the limiter costs, as a multiple of the least that it can cost.

    python -m bench.decisions --rounds 200

`hold floor` is the smallest script that keeps a permit until its answer + window: no batch, no
block, no breaker, no lost Redis. It and the contestant take turns on one server, a few calls each,
so that what else the machine does strikes both alike. `limits` (moving window, by the clock of the
caller) takes part after `make peers`.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from redis import Redis

from bench.servers import PEERS, ROOT, server

LIMITS = (5, 100_000)
WINDOW_MS = 60_000
BLOCK = 5
"""Decisions in a row."""


class Limiter(Protocol):
    """One limiter with a limit of its own."""

    def fill(self, in_use: int) -> None:
        """Leaves exactly that many permits in use."""

    def decide(self) -> object:
        """One decision."""


def refill(redis: Redis, key: str, in_use: int) -> None:
    """Takes the newest permits away, or adds some, until that many are in use."""
    redis.zremrangebyrank(key, in_use, -1)
    until = time.time() * 1000 + WINDOW_MS / 2  # ends before those that are granted meanwhile
    have = int(redis.zcard(key))
    for start in range(have, in_use, 5_000):
        numbers = range(start, min(in_use, start + 5_000))
        redis.zadd(key, {f"full:{n}": until + n % 900 for n in numbers})


class HoldFloor:
    """A sorted set of permits, each scored with its end."""

    ACQUIRE = """
    local t = redis.call('TIME')
    local now = t[1] * 1000 + math.floor(t[2] / 1000)
    redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
    if redis.call('ZCARD', KEYS[1]) < tonumber(ARGV[1]) then
      redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[3])
      return { 1, now }
    end
    return { 0, redis.call('ZRANGE', KEYS[1], 0, 0, 'WITHSCORES')[2] }"""
    KEY = "hold-floor"

    def __init__(self, redis: Redis, limit: int) -> None:
        self.redis, self.limit = redis, limit
        self.sha = redis.script_load(self.ACQUIRE)
        self.number = 0

    def fill(self, in_use: int) -> None:
        """See Limiter."""
        refill(self.redis, self.KEY, in_use)

    def decide(self) -> object:
        """See Limiter."""
        self.number += 1
        name = f"caller:{self.number:012}"
        return self.redis.evalsha(self.sha, 1, self.KEY, self.limit, WINDOW_MS, name)


class Assetq:
    """Ours, without batch and block; its permits are written as `HoldFloor` writes them."""

    def __init__(self, redis: Redis, limit: int) -> None:
        from queueing import Policy, QuotaLimiter

        self.redis = redis
        self.limiter = QuotaLimiter(redis, Policy(limit=limit, window_ms=WINDOW_MS))
        self.limiter.reset()

    def fill(self, in_use: int) -> None:
        """See Limiter."""
        refill(self.redis, self.limiter.keys.window, in_use)

    def decide(self) -> object:
        """See Limiter."""
        return self.limiter.acquire(who="caller")


class MovingWindow:
    """The package `limits`, strategy moving window: a log of grants by the caller's clock."""

    KEY = "caller"

    def __init__(self, redis: Redis, limit: int) -> None:
        limits: Any = import_module("limits")

        pool = redis.connection_pool.connection_kwargs
        self.redis, self.limit = redis, limit
        storage = limits.storage.RedisStorage(f"redis://{pool['host']}:{pool['port']}/1")
        self.item = limits.RateLimitItemPerSecond(limit, WINDOW_MS // 1000)
        self.limiter = limits.strategies.MovingWindowRateLimiter(storage)

    def fill(self, in_use: int) -> None:
        """See Limiter."""
        self.limiter.clear(self.item, self.KEY)
        for _ in range(in_use):
            self.limiter.hit(self.item, self.KEY)

    def decide(self) -> object:
        """See Limiter."""
        return self.limiter.hit(self.item, self.KEY)


BY_NAME: dict[str, Callable[[Redis, int], Limiter]] = {
    "assetq": Assetq,
    "limits": MovingWindow,
}


def seconds(action: Callable[[], object], times: int) -> float:
    """Per call."""
    start = time.perf_counter()
    for _ in range(times):
        action()
    return (time.perf_counter() - start) / times


def ratio(limiter: Limiter, floor: Limiter, limit: int, *, granted: bool) -> float:
    """The cost of a decision over that of the floor's, in one block."""
    found = {}
    for contestant in (limiter, floor):
        contestant.fill(limit - BLOCK if granted else limit)
        found[contestant] = seconds(contestant.decide, BLOCK)
    return found[limiter] / found[floor]


def measure(url: str, name: str, rounds: int) -> Iterator[float]:
    """Refused and granted at each limit, in costs of the floor."""
    with Redis.from_url(url) as redis:
        for limit in LIMITS if name != "limits" else LIMITS[:1]:
            redis.flushall()
            limiter, floor = BY_NAME[name](redis, limit), HoldFloor(redis, limit)
            for contestant in (limiter, floor):
                contestant.fill(0)
                contestant.decide()
            for granted in (False, True):
                yield statistics.median(
                    ratio(limiter, floor, limit, granted=granted) for _ in range(rounds)
                )


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--one", nargs=2, metavar=("URL", "NAME"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        url, name = arguments.one
        print(*measure(url, name, arguments.rounds))
        return
    kinds = [f"{what}, limit {limit:,}" for limit in LIMITS for what in ("refused", "granted")]
    print(f"| a decision, in costs of the hold floor | {' | '.join(kinds)} |")
    print("|---" * (len(kinds) + 1) + "|")
    with server() as url:
        for name in BY_NAME:
            python = PEERS / "bin/python" if name == "limits" else Path(sys.executable)
            if not python.exists():
                continue
            command: list[str | Path] = [python, "-m", "bench.decisions", "--one", url, name]
            done = subprocess.run(
                [*command, "--rounds", str(arguments.rounds)],
                cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE, text=True, check=True,
            )  # fmt: skip
            cells = [f"{float(value):.2f}" for value in done.stdout.split()]
            cells += ["–"] * (len(kinds) - len(cells))
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
