"""What a script costs at a small and at a large limit, side by side, by the server's own reckoning.

    python -m bench.limits

Each figure is Redis' time per call, with all permits in use and with all of them ended; a refused
call is what a full window costs. `claim + end` is one granted call of one item.
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from redis import Redis

from local.servers.valkey import ValkeyServer
from queueing import Claimed, Done, Policy, PriorityQueue, QuotaLimiter, Request

LIMITS = (5, 1_000, 100_000)
ROUNDS = 40


class Site:
    """One queue and its limiter on an empty server, under one limit."""

    def __init__(self, redis: Redis, limit: int) -> None:
        redis.flushall()
        policy = Policy(limit=limit)
        self.redis = redis
        self.queue = PriorityQueue(redis, policy, max_size=10**6)
        self.limiter = QuotaLimiter(redis, policy)
        self.limiter.reset()
        self.limiter.plan_batch(self._now_ms() + 300_000, 300_000, 3)
        self.queue.enqueue([Request(f"S{number}") for number in range(1000)])

    def _now_ms(self) -> int:
        seconds, micros = self.redis.time()
        return int(seconds) * 1000 + int(micros) // 1000

    def fill(self, *, ended: bool) -> None:
        """As many permits as the limit allows, in use or just ended."""
        limit, now_ms = self.limiter.policy.limit or 0, self._now_ms()
        self.redis.delete(self.queue.keys.window)
        at = now_ms - 1_000 if ended else now_ms + 30_000
        for start in range(0, limit, 5_000):
            numbers = range(start, min(start + 5_000, limit))
            self.redis.zadd(self.queue.keys.window, {f"call:{n}": at + n % 900 for n in numbers})

    def refill(self) -> None:
        """Ends again the permits that the calls before were granted."""
        window, now_ms = self.queue.keys.window, self._now_ms()
        self.redis.hset(self.queue.keys.quota, "last_grant_at", now_ms - 120_000)
        if granted := self.redis.zremrangebyscore(window, now_ms, "+inf"):
            ended = {f"again:{number}": now_ms - 1_000 + number for number in range(int(granted))}
            self.redis.zadd(window, ended)

    def acquire(self) -> None:
        """One call without an item."""
        self.limiter.acquire(who="bench")

    def claim_and_end(self) -> None:
        """One claim, and the end of its call if it was granted."""
        answer = self.queue.claim(drain="bench")
        if isinstance(answer, Claimed):
            done = [Done(item.symbol) for item in answer.items]
            self.queue.end(answer, done, answered=True, drain="bench")


def cost_us(site: Site, action: Callable[[], object], *, ended: bool, times: int) -> float:
    """Redis' time per call: the best of several rounds, as a busy machine only adds."""
    rounds = []
    for _ in range(ROUNDS):
        if ended:
            site.refill()
        site.redis.config_resetstat()
        for _ in range(times):
            action()
        stats: Any = site.redis.info("commandstats")
        rounds.append(float(stats["cmdstat_evalsha"]["usec"]) / times)
    return min(rounds)


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limits", type=int, nargs="+", default=LIMITS)
    arguments = parser.parse_args()
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="assetq-bench-") as folder:
        server = ValkeyServer(Path(folder))
        server.start()
        with Redis.from_url(server.url, decode_responses=True) as redis:
            for limit in arguments.limits:
                site = Site(redis, limit)
                for ended, state in ((True, "free"), (False, "in use")):
                    site.fill(ended=ended)
                    actions = {"acquire": site.acquire, "claim + end": site.claim_and_end}
                    for name, action in actions.items():
                        action()
                        us = cost_us(site, action, ended=ended, times=min(4, limit))
                        found.setdefault(f"{name}, all permits {state}", []).append(us)
        server.kill()
    heads = [f"limit {limit:,}" for limit in arguments.limits]
    print(f"| Redis' time per call | {' | '.join(heads)} | ratio |")
    print("|---" * (len(heads) + 2) + "|")
    for name, row in found.items():
        cells = " | ".join(f"{us:.0f} µs" for us in row)
        print(f"| {name} | {cells} | {max(row) / min(row):.2f} |")


if __name__ == "__main__":
    main()
