"""The soak: is the quota kept, as the provider counts, whatever happens?

Real processes, a road with delays, errors, kills, wrong clocks, a flushed and a restarted Redis,
and a provider that stamps arrivals at their first byte.

    python -m tests.chaos.soak --seconds 300                  # no window above the limit, or exit 1
    python -m tests.chaos.soak --seconds 60 --limiter naive   # must find some, or it proves nothing
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from redis import Redis

from db.connection import connect
from db.migrate import migrate
from db.symbols import SymbolRepository
from local.servers.postgres import PostgresServer
from local.servers.valkey import ValkeyServer
from queueing import Keys
from settings.catalogue import read_assets
from tests.chaos.fleet import PYTHON, ROOT, Fleet
from tests.kit.roads import SlowRoad


@dataclass(frozen=True)
class Findings:
    """What the provider saw."""

    arrivals: int
    worst_window: int
    violations: int
    """Arrivals that were one too many in the window that they end."""
    tightest: float
    """The shortest span of limit + 1 arrivals, in windows; 1 or more is clean."""
    kills: int
    by_status: dict[str, int]
    counters: dict[str, str]


def judge(times: list[float], limit: int, window_s: float) -> tuple[int, int, float]:
    """Worst window, violations, and the tightest span of limit + 1 arrivals in windows."""
    times = sorted(times)
    worst = violations = first = 0
    for last, at in enumerate(times):
        while times[first] <= at - window_s:
            first += 1
        inside = last - first + 1
        worst, violations = max(worst, inside), violations + (inside > limit)
    spans = [b - a for a, b in zip(times, times[limit:], strict=False)]
    return worst, violations, min(spans, default=float("inf")) / window_s


def soak(arguments: argparse.Namespace, folder: Path) -> Findings:
    """One whole run."""
    with ExitStack() as stack:
        valkey, postgres = ValkeyServer(folder / "valkey"), PostgresServer(folder / "postgres")
        for server in (valkey, postgres):
            server.start()
            stack.callback(server.stop)
        url = postgres.ensure_database()
        migrate(url)
        with connect(url) as connection:
            # Always due, so that the queue never runs dry for long.
            assets = [replace(a, update_frequency_seconds=None) for a in read_assets()]
            SymbolRepository(connection).upsert_many(assets)
        sandbox = start_sandbox(arguments)
        stack.callback(sandbox.wait, 10)
        stack.callback(sandbox.terminate)
        assert sandbox.stdout is not None
        provider = sandbox.stdout.readline().split()[1]
        road = SlowRoad(int(provider.rpartition(":")[2]), seed=arguments.seed).start()
        stack.callback(road.stop)
        env = environment(arguments, valkey.url, url, f"http://127.0.0.1:{road.port}")
        fleet = Fleet(env, arguments.workers, arguments.log, seed=arguments.seed)
        try:
            kills = run(arguments, fleet, valkey)
        finally:
            fleet.stop()
        arrivals = fetch(f"{provider}/_sandbox/arrivals")
        with Redis.from_url(valkey.url, decode_responses=True) as redis:
            counters: dict[str, str] = redis.hgetall(Keys().counters)
    return findings(arguments, arrivals, kills, counters)


def environment(
    arguments: argparse.Namespace, redis_url: str, database_url: str, provider: str
) -> dict[str, str]:
    """What the processes read."""
    return os.environ | {
        "PYTHONPATH": f"{ROOT / 'tests' / 'chaos' / 'site'}{os.pathsep}{ROOT}",
        "REDIS_URL": redis_url,
        "DATABASE_URL": database_url,
        "POLYGON_BASE_URL": provider,
        "MASSIVE_API_KEY": "soak",
        "POLYGON_RATE_LIMIT": str(arguments.limit),
        "RATE_WINDOW_SECONDS": str(arguments.window),
        "BATCH_INTERVAL_MINUTES": "1",
        "SECONDARY_INTERVAL_MINUTES": "1",
        "RETRY_DELAY_SECONDS": "5",
        "SOAK_LIMITER": arguments.limiter,
    }


def findings(
    arguments: argparse.Namespace,
    arrivals: Sequence[Mapping[str, Any]],
    kills: int,
    counters: dict[str, str],
) -> Findings:
    """The provider's log, judged."""
    times = [row["mono_ns"] / 1e9 for row in arrivals]
    if arguments.arrivals:
        arguments.arrivals.write_text(json.dumps(times))
    worst, violations, tightest = judge(times, arguments.limit, arguments.window)
    statuses = Counter(str(row["status"]) for row in arrivals)
    by_status = dict(sorted(statuses.items()))
    return Findings(len(times), worst, violations, tightest, kills, by_status, counters)


def start_sandbox(arguments: argparse.Namespace) -> "subprocess.Popen[str]":
    """The provider, in a process of its own."""
    options = {
        "--port": 0,
        "--plan": "spec",
        "--seed": arguments.seed,
        "--limit": arguments.limit,
        "--window-s": arguments.window,
        "--fault": f"server_error,probability={arguments.errors}",
    }
    words = [str(word) for option in options.items() for word in option]
    command = [PYTHON, "-m", "local.sandbox", "--no-count-refused", *words]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def run(arguments: argparse.Namespace, fleet: Fleet, valkey: ValkeyServer) -> int:
    """Kills (returns how many), flushes and restarts on a fixed plan until the time is over."""
    start, kills = time.monotonic(), 0
    die = random.Random(arguments.seed)
    plan = [(arguments.seconds / 3, "flush"), (arguments.seconds * 2 / 3, "restart")]
    while (passed := time.monotonic() - start) < arguments.seconds:
        if passed > (kills + 1) * arguments.kill_every:
            fleet.kill(die.choice(fleet.workers))
            kills += 1
        if plan and passed > plan[0][0]:
            what = plan.pop(0)[1]
            if what == "flush":
                with Redis.from_url(valkey.url) as redis:
                    redis.flushall()
            else:
                valkey.kill()
                valkey.start()
            print(f"{passed:6.1f} s  {what}", flush=True)
        fleet.revive()
        time.sleep(0.2)
    return kills


def fetch(url: str) -> list[dict[str, Any]]:
    """A JSON list from the sandbox."""
    with urllib.request.urlopen(url, timeout=30) as answer:
        rows: list[dict[str, Any]] = json.load(answer)
    return rows


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--limit", type=int, default=5)
    parser.add_argument("--window", type=float, default=4.0)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--errors", type=float, default=0.03)
    parser.add_argument("--kill-every", type=float, default=5.0)
    parser.add_argument("--limiter", choices=["ours", "naive"], default="ours")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--log", type=Path, default=Path(os.devnull))
    parser.add_argument("--arrivals", type=Path, help="write the arrival times here, for a plot")
    return parser.parse_args(argv)


def main() -> int:
    """0: no window held more than the limit (naive: some did, so the harness can tell)."""
    arguments = parse()
    with tempfile.TemporaryDirectory(prefix="assetq-soak-") as folder:
        os.chmod(folder, 0o755)
        found = soak(arguments, Path(folder))
    print(json.dumps(found.__dict__, indent=2))
    broken = found.violations > 0
    return int(broken != (arguments.limiter == "naive"))


if __name__ == "__main__":
    sys.exit(main())
