"""Redis commands per granted call, while real workers wait.

    python -m bench.commands --workers 2 8 32 --window 2 --seconds 30

Counts what leaves the processes (MONITOR): commands of queue and quota, of the scheduler's pass,
and RQ's own. The queue never runs dry; no batch, so that every call is background work.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from hashlib import sha1
from pathlib import Path
from typing import Any

from redis import Redis

from db.connection import connect
from db.migrate import migrate
from db.symbols import Asset, SymbolRepository
from local.servers.postgres import PostgresServer
from local.servers.valkey import ValkeyServer
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


def measure(workers: int, window_s: float, seconds: float, urls: tuple[str, str]) -> str:
    """One line of the table."""
    redis_url, database_url = urls
    keys = Keys()
    scripts = {
        sha1(source(path.stem).encode()).hexdigest(): path.stem
        for path in (ROOT / "queueing" / "lua").glob("*.lua")
    }
    with Redis.from_url(redis_url, decode_responses=True) as redis:
        redis.flushall()
    sandbox = subprocess.Popen(
        [sys.executable, *f"-m local.sandbox --port 0 --plan spec --window-s {window_s}".split()],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert sandbox.stdout is not None
    env = os.environ | {
        "REDIS_URL": redis_url,
        "DATABASE_URL": database_url,
        "POLYGON_BASE_URL": sandbox.stdout.readline().split()[1],
        "MASSIVE_API_KEY": "bench",
        "RATE_WINDOW_SECONDS": str(window_s),
        "PRIORITY_ASSETS_ENABLED": "false",
        "QUEUE_MAX_SIZE": "10000",
    }
    commands = [procfile("worker")] * workers + [procfile("scheduler")]
    null = subprocess.DEVNULL
    fleet = [
        subprocess.Popen(command, env=env, cwd=ROOT, stdout=null, stderr=null)
        for command in commands
    ]
    try:
        counts, grants = watch(redis_url, scripts, keys, seconds, settle_s=15 + workers / 2)
    finally:
        for process in fleet:
            process.send_signal(signal.SIGTERM)
        for process in fleet:
            process.wait(60)
        sandbox.terminate()
        sandbox.wait(10)
    per = {kind: number / max(1, grants) for kind, number in counts.items()}
    shown = " | ".join(
        f"{per.get(kind, 0):.2f}" for kind in ("queue and quota", "plan and books", "scheduler")
    )
    rq = per.get("RQ", 0) + per.get("RQ and connections", 0)
    return f"| {workers} | {window_s:g} s | {grants} | {shown} | {rq:.1f} |"


def watch(
    redis_url: str, scripts: dict[str, str], keys: Keys, seconds: float, *, settle_s: float
) -> tuple[Counter[str], int]:
    """Counts for some seconds, after the workers have come up."""
    time.sleep(settle_s)
    counts: Counter[str] = Counter()

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
    with tempfile.TemporaryDirectory(prefix="assetq-bench-") as folder:
        os.chmod(folder, 0o755)
        valkey, postgres = ValkeyServer(Path(folder) / "v"), PostgresServer(Path(folder) / "p")
        valkey.start()
        postgres.start()
        url = postgres.ensure_database()
        migrate(url)
        with connect(url) as connection:
            names = [f"T{number:05}" for number in range(ASSETS)]
            SymbolRepository(connection).upsert_many(
                Asset(name, "C:EURUSD", "forex", priority=3) for name in names
            )
        print("| workers | window | grants | queue and quota | plan, books | scheduler | RQ |")
        print("|---|---|---|---|---|---|---|")
        for window_s in arguments.window:
            for workers in arguments.workers:
                row = measure(workers, window_s, arguments.seconds, (valkey.url, url))
                print(row, flush=True)
        postgres.stop()
        valkey.stop()


if __name__ == "__main__":
    main()
