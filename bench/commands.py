"""Redis commands per granted call, while real workers wait.

    python -m bench.commands --workers 2 8 32 --window 2 --seconds 30

Counts what leaves the processes (MONITOR): commands of queue and quota, of the scheduler's pass,
and RQ's own. The queue never runs dry; no batch, so that every call is background work.
"""

import argparse
import threading
import time
from collections import Counter
from hashlib import sha1
from typing import Any

from redis import Redis

from bench.servers import processes, stand
from db.symbols import Asset
from queueing import Keys
from queueing.scripts import source
from tests.chaos.fleet import ROOT, procfile

SCHEDULER = ("reap", "plan_batch")
"""The scripts of its pass; all others are a drain's."""
ASSETS = 2000


def classify(command: str, scripts: dict[str, str], keys: Keys) -> str:
    """queue and quota, scheduler, plan and books, or RQ."""
    words = command.split(" ", 3)
    name = words[0].upper()
    if name == "EVALSHA":
        script = scripts.get(words[1])
        if script is None:
            return "RQ"
        return "scheduler" if script in SCHEDULER else "queue and quota"
    if name == "BLPOP":
        return "queue and quota" if keys.wake in command else "RQ"
    if keys.scheduler in command or keys.outage in command:
        return "scheduler"
    return "plan and books" if "assetq:{" in command else "RQ and connections"


def measure(workers: int, window_s: float, seconds: float) -> str:
    """One line of the table."""
    assets = [Asset(f"T{n:05}", "C:EURUSD", "forex", priority=3) for n in range(ASSETS)]
    settings = {
        "RATE_WINDOW_SECONDS": str(window_s),
        "PRIORITY_ASSETS_ENABLED": "false",
        "QUEUE_MAX_SIZE": "10000",
    }
    with stand(assets, f"--plan spec --window-s {window_s}", **settings) as there:
        commands = [procfile("worker")] * workers + [procfile("scheduler")]
        with processes(commands, there.env, settle_s=15 + workers / 2):
            counts, grants = watch(there.redis_url, seconds)
    per = {kind: number / max(1, grants) for kind, number in counts.items()}
    shown = " | ".join(
        f"{per.get(kind, 0):.2f}" for kind in ("queue and quota", "plan and books", "scheduler")
    )
    rq = per.get("RQ", 0) + per.get("RQ and connections", 0)
    return f"| {workers} | {window_s:g} s | {grants} | {shown} | {rq:.1f} |"


def watch(redis_url: str, seconds: float) -> tuple[Counter[str], int]:
    """Commands by their kind, and the calls that were granted, in that time."""
    keys, counts = Keys(), Counter[str]()
    scripts = {
        sha1(source(path.stem).encode()).hexdigest(): path.stem
        for path in (ROOT / "queueing" / "lua").glob("*.lua")
    }

    def granted(redis: Redis) -> int:
        values: Any = redis.hgetall(keys.counters)
        return sum(int(v) for k, v in values.items() if k.startswith("granted:"))

    with Redis.from_url(redis_url, decode_responses=True, socket_timeout=None) as redis:
        before = granted(redis)
        ends = time.monotonic() + seconds
        over = threading.Timer(seconds, lambda: redis.echo("over"))
        over.start()
        with redis.monitor() as monitor:
            for seen in monitor.listen():
                if time.monotonic() > ends:
                    break
                if seen["client_type"] != "lua":
                    counts[classify(seen["command"], scripts, keys)] += 1
        over.join()
        return counts, granted(redis) - before


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[2, 8, 32])
    parser.add_argument("--window", type=float, nargs="+", default=[2.0])
    parser.add_argument("--seconds", type=float, default=30)
    arguments = parser.parse_args()
    print("| workers | window | grants | queue and quota | plan, books | scheduler | RQ |")
    print("|---|---|---|---|---|---|---|")
    for window_s in arguments.window:
        for workers in arguments.workers:
            print(measure(workers, window_s, arguments.seconds), flush=True)


if __name__ == "__main__":
    main()
