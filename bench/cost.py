"""What a script costs on a short and on a long queue, side by side on one server.

    python -m bench.cost --sizes 1000 1000000

Two queues take turns, so that what else the machine does strikes both alike. `Redis' time` is the
server's own reckoning of a call; `items/s` is claim + end of single items by one process.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

from redis import Redis

from bench.servers import server
from queueing import Claimed, Done, Keys, Policy, Priority, PriorityQueue, Request

ROUNDS, TIMES = 20, 25


def fill(queue: PriorityQueue, size: int) -> None:
    """That many items, spread evenly over all bands."""
    for band in Priority:
        names = [f"{band.name}{number}" for number in range(size // len(Priority))]
        for start in range(0, len(names), 10_000):
            queue.enqueue(map(Request, names[start : start + 10_000]), band)


def queue_of(redis: Redis, size: int) -> PriorityQueue:
    """A queue without a limit that holds that many items."""
    queue = PriorityQueue(redis, Policy(limit=None), keys=Keys(f"of-{size}"), max_size=10**8)
    fill(queue, size)
    return queue


def work_one(queue: PriorityQueue) -> None:
    """Claims one item, ends its call, and enqueues the item again, behind the others."""
    answer = queue.claim(drain="bench")
    assert isinstance(answer, Claimed)
    (item,) = answer.items
    queue.end(answer, [Done(item.symbol)], answered=True, drain="bench")
    queue.enqueue([Request(item.symbol)], item.priority)


def actions(queue: PriorityQueue) -> dict[str, Callable[[], object]]:
    """What is measured, by the names of the table."""
    fresh = (f"NEW{number}" for number in range(10**9))
    return {
        "claim + end + enqueue": lambda: work_one(queue),
        "enqueue one that waits": lambda: queue.enqueue([Request("LOW0")], Priority.LOW),
        "enqueue a new one": lambda: queue.enqueue([Request(next(fresh))], Priority.LOW),
        "peek 5": lambda: queue.peek(5),
        "stats": queue.stats,
        "next_at": queue.next_at,
    }


def cost(redis: Redis, action: Callable[[], object]) -> tuple[float, float]:
    """(Redis' time in µs, seconds on the client's clock) of one call."""
    redis.config_resetstat()
    start = time.perf_counter()
    for _ in range(TIMES):
        action()
    took = (time.perf_counter() - start) / TIMES
    stats: Any = redis.info("commandstats")
    return float(stats["cmdstat_evalsha"]["usec"]) / TIMES, took


def rows(redis: Redis, sizes: list[int]) -> Iterator[tuple[str, list[float]]]:
    """Redis' time of each action at each size, and items/s."""
    all_ = [actions(queue_of(redis, size)) for size in sizes]
    for name in all_[0]:
        for one in all_:
            one[name]()  # loads the script
        found = [[cost(redis, one[name]) for one in all_] for _ in range(ROUNDS)]
        yield name, [statistics.median(r[at][0] for r in found) for at in range(len(sizes))]
        if "claim" in name:
            rates = [1 / statistics.median(r[at][1] for r in found) for at in range(len(sizes))]
            yield "items/s", rates


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs=2, default=[1_000, 1_000_000])
    sizes: list[int] = parser.parse_args().sizes
    heads = " | ".join(f"{size:,} items" for size in sizes)
    print(f"| Redis' time per call | {heads} | ratio |\n|---|---|---|---|")
    with server() as url, Redis.from_url(url, decode_responses=True) as redis:
        for name, (small, large) in rows(redis, sizes):
            unit = "" if name == "items/s" else " µs"
            print(
                f"| {name} | {small:,.0f}{unit} | {large:,.0f}{unit} | {large / small:.2f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
