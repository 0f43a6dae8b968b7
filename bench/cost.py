"""What a script costs on a short and on a long queue, side by side, by the server's own reckoning.

python -m bench.cost
"""

import argparse
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from redis import Redis

from local.servers.valkey import ValkeyServer
from queueing import Policy, Priority, PriorityQueue, Request


def fill(queue: PriorityQueue, size: int) -> None:
    """That number of items, spread evenly over four bands."""
    for band in Priority:
        names = [f"{band.name}{number}" for number in range(size // len(Priority))]
        queue.enqueue(map(Request, names), band)


def cost_us(redis: Redis, action: Callable[[], object], times: int) -> float:
    """Mean time of one call."""
    redis.config_resetstat()
    for _ in range(times):
        action()
    stats: Any = redis.info("commandstats")
    return float(stats["cmdstat_evalsha"]["usec"]) / times


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs=2, default=[200, 20_000])
    parser.add_argument("--times", type=int, default=50)
    arguments = parser.parse_args()
    found: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory(prefix="assetq-bench-") as folder:
        server = ValkeyServer(Path(folder))
        server.start()
        with Redis.from_url(server.url, decode_responses=True) as redis:
            queue = PriorityQueue(redis, Policy(limit=None), max_size=10**6)
            actions: dict[str, Callable[[], object]] = {
                "claim": lambda: queue.claim(drain="d"),
                "peek 5": lambda: queue.peek(5),
                "stats": queue.stats,
                "next_at": queue.next_at,
            }
            for size in arguments.sizes:
                redis.flushall()
                fill(queue, size)
                queue.claim(drain="d")  # loads the script
                found.append({n: cost_us(redis, a, arguments.times) for n, a in actions.items()})
        server.stop()
    small, large = arguments.sizes
    print(f"| script | {small:,} items | {large:,} items | ratio |\n|---|---|---|---|")
    for name, us in found[0].items():
        print(f"| {name} | {us:.0f} µs | {found[1][name]:.0f} µs | {found[1][name] / us:.2f} |")


if __name__ == "__main__":
    main()
