"""What keeping calls free for the batch costs: look-ahead by tolerance, and a static split.

    python -m bench.reservation --hours 8

An endless queue, a batch of three calls every five minutes, 5 calls per 60 s, one asset a call;
the queue's own scripts with a simulated clock. The static split is two limiters, 3 + 2.
"""

import argparse
import tempfile
from pathlib import Path

from redis import Redis

from local.sandbox import worst_window
from local.servers.valkey import ValkeyServer
from local.simulation import START_MS, Scenario, Simulation
from queueing import Grant, Keys, Policy, PriorityQueue, QuotaLimiter

BATCH_CALLS, BATCH_MS, ANSWER_MS = 3, 300_000, 180


def look_ahead(redis: Redis, tolerance_s: float, hours: float) -> str:
    """One line of the table."""
    redis.flushall()
    policy = Policy(tolerance_ms=int(tolerance_s * 1000))
    queue = PriorityQueue(redis, policy, max_size=1000)
    scenario = Scenario(hours=hours, endless=True)
    result = Simulation(queue, QuotaLimiter(redis, policy), scenario).run()
    starts = result.critical_starts_ms
    assert result.utilisation is not None
    return _row(
        f"look-ahead, tolerance {tolerance_s:g} s",
        result.calls,
        result.utilisation,
        max(starts),
        sum(starts) / len(starts),
        worst_window(result.arrivals_ms, policy.window_ms),
    )


def static_split(redis: Redis, hours: float) -> str:
    """Three calls a window for the batch, two for the rest, neither may borrow."""
    redis.flushall()
    urgent = QuotaLimiter(redis, Policy(limit=3), keys=Keys("urgent"))
    rest = QuotaLimiter(redis, Policy(limit=2), keys=Keys("rest"))
    for limiter in (urgent, rest):
        limiter.now_ms = START_MS
        limiter.reset()
    end = START_MS + int(hours * 3_600_000)
    arrivals = []
    for limiter, demand in ((rest, None), (urgent, BATCH_MS)):
        at, left = START_MS, BATCH_CALLS
        while at < end:
            limiter.now_ms = at
            answer = limiter.acquire(who="bench")
            if not isinstance(answer, Grant):
                assert answer.next_at_ms is not None
                at = answer.next_at_ms
                continue
            arrivals.append(at)
            at += ANSWER_MS
            limiter.now_ms = at
            limiter.release(answer)
            left -= 1
            if demand and left == 0:  # the batch is done: on to the next slot
                at, left = START_MS + ((at - START_MS) // demand + 1) * demand, BATCH_CALLS
    policy = Policy()
    possible = 5 * (end - START_MS) / (policy.window_ms + policy.guard_ms + ANSWER_MS)
    worst = worst_window(arrivals, policy.window_ms)
    return _row("static split, 3 + 2", len(arrivals), len(arrivals) / possible, 0, 0.0, worst)


def _row(name: str, calls: int, share: float, latest: int, mean: float, worst: int) -> str:
    times = f"{latest / 1000:.1f} s | {mean / 1000:.1f} s"
    return f"| {name} | {calls:,} | {share:.1%} | {times} | {worst} |"


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=8)
    hours = parser.parse_args().hours
    with tempfile.TemporaryDirectory(prefix="assetq-bench-") as folder:
        server = ValkeyServer(Path(folder))
        server.start()
        print("| rule | calls | of those possible | latest batch start | mean | worst window |")
        print("|---|---|---|---|---|---|")
        with Redis.from_url(server.url, decode_responses=True) as redis:
            for tolerance_s in (0, 1, 2, 5, 10):
                print(look_ahead(redis, tolerance_s, hours), flush=True)
            print(static_split(redis, hours), flush=True)
        server.kill()


if __name__ == "__main__":
    main()
