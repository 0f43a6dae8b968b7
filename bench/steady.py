"""How much of the quota is used by real processes, undisturbed.

    python -m bench.steady --seconds 600                  # batch off: idle slot-seconds
    python -m bench.steady --seconds 900 --batch          # a batch of three calls every 5 minutes

Two workers and the scheduler from the Procfile against the sandbox (plan spec, 5 calls per 60 s), a
queue that never runs dry.
"""

import argparse
import json
import os
import time
from dataclasses import replace
from pathlib import Path

from redis import Redis

from bench.servers import stand
from queueing import Keys, Policy, PriorityQueue
from queueing.batches import BatchRecord
from settings.catalogue import read_assets
from tests.chaos.fleet import Fleet
from tests.chaos.soak import fetch, judge


def run(arguments: argparse.Namespace) -> tuple[list[float], dict[str, str], list[BatchRecord]]:
    """Arrivals in seconds, Redis' counters and the batches of one run."""
    assets = [replace(asset, update_frequency_seconds=None) for asset in read_assets()]
    sandbox = (
        f"--no-count-refused --plan spec --seed {arguments.seed} --limit {arguments.limit} "
        f"--window-s {arguments.window} --fault server_error,probability={arguments.errors}"
    )
    settings = {
        "RATE_WINDOW_SECONDS": str(arguments.window),
        "PRIORITY_ASSETS_ENABLED": str(arguments.batch).lower(),
    }
    with (
        stand(assets, sandbox, **settings) as there,
        Redis.from_url(there.redis_url, decode_responses=True) as redis,
    ):
        fleet = Fleet(there.env, arguments.workers, Path(os.devnull), seed=arguments.seed)
        while not redis.zcard(Keys().window):  # the first call
            time.sleep(0.05)
        time.sleep(arguments.seconds)
        fleet.stop()
        counters: dict[str, str] = redis.hgetall(Keys().counters)
        batches = PriorityQueue(redis, Policy()).batches(100)
        arrivals = fetch(f"{there.provider}/_sandbox/arrivals")
    times = sorted(row["mono_ns"] / 1e9 for row in arrivals)
    return [t for t in times if t <= times[0] + arguments.seconds], counters, batches


def measure(arguments: argparse.Namespace) -> dict[str, object]:
    """One run, judged."""
    times, counters, batches = run(arguments)
    if arguments.arrivals:
        arguments.arrivals.write_text(json.dumps(times))
    policy = Policy(limit=arguments.limit, window_ms=int(arguments.window * 1000))
    cycle_s = (policy.window_ms + policy.guard_ms) / 1000
    possible = arguments.limit * (1 + int(arguments.seconds / cycle_s))
    starts = [b.first_call_at_ms - b.planned_at_ms for b in batches if b.first_call_at_ms]
    return {
        "arrivals": len(times),
        "possible in whole windows": possible,
        "share": round(len(times) / possible, 4),
        "idle slot-seconds share": round(
            int(counters.get("idle_ms", 0)) / 1000 / (arguments.limit * arguments.seconds), 5
        ),
        "worst window": judge(times, arguments.limit, arguments.window)[0],
        "batch starts ms (the first follows a start, not a slot)": starts[::-1],
        "counters": counters,
    }


def main() -> None:
    """Prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--limit", type=int, default=5)
    parser.add_argument("--window", type=float, default=60.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--errors", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--batch", action="store_true")
    parser.add_argument("--arrivals", type=Path)
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments), indent=2))


if __name__ == "__main__":
    main()
