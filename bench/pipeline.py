"""From the queue to PostgreSQL and the channel: thousands of assets on a plan without a limit.

    python -m bench.pipeline --assets 5000

The provider is the sandbox, which answers after 20 ms. `assetq` is two workers and a scheduler as
the Procfile starts them; `rq worker` is the program that one would write first: a job per asset
that asks for its price, updates its row and publishes, on two workers. It gets a part of the
assets, as its rate does not depend on their number.
"""

import argparse
import itertools
import json
import os
import shlex
import string
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from redis import Redis

from bench.servers import ROOT, server

SAMPLE = {"rq worker": 300, "rq SimpleWorker": 1_000}
PRICED = "SELECT count(*) FROM trading.symbols WHERE metadata ? 'last_update'"


def refresh(symbol: str, ticker: str) -> None:
    """The job of the plain program."""
    import psycopg
    import requests

    answer = requests.get(
        f"{os.environ['POLYGON_BASE_URL']}/v3/snapshot",
        params={"ticker.any_of": ticker, "apiKey": "bench"}, timeout=10,
    )  # fmt: skip
    price = answer.json()["results"][0]["session"]["close"]
    told = json.dumps({"last_update": time.time(), "last_price": price})
    with psycopg.connect(os.environ["DATABASE_URL"]) as connection:
        connection.execute(
            "UPDATE trading.symbols SET metadata = metadata || %s::jsonb WHERE symbol = %s",
            (told, symbol),
        )
    Redis.from_url(os.environ["REDIS_URL"]).publish("bench:updates", told)


def coins(count: int) -> list[str]:
    """Names of coins: a market that never closes."""
    letters = itertools.product(string.ascii_uppercase, repeat=4)
    return ["Q" + "".join(word) for word in itertools.islice(letters, count)]


class Site:
    """Servers, sandbox and an imported catalogue; `env` is what processes read."""

    def __init__(self, redis_url: str, names: list[str], stack: ExitStack) -> None:
        from db.connection import connect
        from db.migrate import migrate
        from db.symbols import Asset, SymbolRepository
        from local.servers.postgres import PostgresServer

        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="assetq-bench-")))
        folder.chmod(0o755)
        tickers = folder / "tickers"
        tickers.write_text("\n".join(f"X:{name}USD" for name in names))
        postgres = PostgresServer(folder / "p")
        postgres.start()
        stack.callback(postgres.stop)
        url = postgres.ensure_database()
        migrate(url)
        self.connection = stack.enter_context(connect(url))
        assets = [Asset(name, f"X:{name}USD", "crypto", priority=3) for name in names]
        SymbolRepository(self.connection).upsert_many(assets)
        options = (
            f"--plan starter --limit 0 --tickers {tickers} --fault delay,min_s=0.02,max_s=0.02"
        )
        sandbox = subprocess.Popen(
            [sys.executable, "-m", "local.sandbox", *shlex.split(options)],
            cwd=ROOT, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        stack.callback(sandbox.wait, 10)
        stack.callback(sandbox.terminate)
        assert sandbox.stdout is not None
        self.env = os.environ | {
            "REDIS_URL": redis_url, "DATABASE_URL": url, "MASSIVE_API_KEY": "bench",
            "POLYGON_BASE_URL": sandbox.stdout.readline().split()[1], "POLYGON_TIER": "starter",
            "PRIORITY_ASSETS_ENABLED": "false", "SECONDARY_INTERVAL_MINUTES": "1440",
            "QUEUE_MAX_SIZE": "100000", "PYTHONPATH": str(ROOT),
        }  # fmt: skip

    def priced(self) -> int:
        """How many assets have a price."""
        row = self.connection.execute(PRICED).fetchone()
        assert row is not None
        return int(row[0])

    def rate(self, ask: Callable[[], object], count: int) -> float:
        """Assets a second, from the request to the last row that changes; two minutes at most."""
        self.connection.execute("UPDATE trading.symbols SET metadata = '{}'")
        start = time.perf_counter()
        ask()
        ends = start + 120
        while (done := self.priced()) < count and time.perf_counter() < ends:
            time.sleep(0.02)
        return done / (time.perf_counter() - start)


@contextmanager
def processes(commands: list[list[str]], env: dict[str, str]) -> Iterator[None]:
    """Those processes, given time to come up."""
    null = subprocess.DEVNULL
    started = [
        subprocess.Popen(command, env=env, cwd=ROOT, stdout=null, stderr=null)
        for command in commands
    ]
    time.sleep(6)
    try:
        yield
    finally:
        for process in started:
            process.terminate()
        for process in started:
            process.wait(40)


def assetq(site: Site, redis: Redis, names: list[str]) -> float:
    """Ours."""
    from queueing import Policy, PriorityQueue, Request
    from tests.chaos.fleet import procfile

    queue = PriorityQueue(redis, Policy(limit=None, spacing_ms=20), max_size=100_000)
    with processes([procfile("worker"), procfile("worker"), procfile("scheduler")], site.env):
        return site.rate(lambda: queue.enqueue([Request(name) for name in names]), len(names))


def rq(worker_class: str) -> Callable[[Site, Redis, list[str]], float]:
    """RQ with a job per asset."""

    def run(site: Site, redis: Redis, names: list[str]) -> float:
        from rq import Queue

        chosen = names[: SAMPLE[worker_class]]
        queue = Queue("bench", connection=redis, serializer="json")
        jobs = [
            Queue.prepare_data("bench.pipeline.refresh", (name, f"X:{name}USD")) for name in chosen
        ]
        program = str(Path(sys.executable).parent / "rq")
        kind = f"rq.{worker_class.split()[1].replace('worker', 'Worker')}"
        command = [program, "worker", "-q", "-S", "json", "-u", site.env["REDIS_URL"], "-w", kind]
        with processes([[*command, "bench"]] * 2, site.env):
            return site.rate(lambda: queue.enqueue_many(jobs), len(chosen))

    return run


BY_NAME: dict[str, Callable[[Site, Redis, list[str]], float]] = {
    "assetq": assetq,
    "rq SimpleWorker": rq("rq SimpleWorker"),
    "rq worker": rq("rq worker"),
}


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assets", type=int, default=5_000)
    names = coins(parser.parse_args().assets)
    print("| program | assets/s, queued until stored | of the plain RQ worker |\n|---|---|---|")
    with ExitStack() as stack:
        url = stack.enter_context(server())
        site = Site(url, names, stack)
        found = {}
        for name, run in BY_NAME.items():
            with Redis.from_url(url) as redis:
                redis.flushall()
                found[name] = run(site, redis, names)
    for name, rate in found.items():
        print(f"| {name} | {rate:,.0f} | {rate / found['rq worker']:.1f} |")


if __name__ == "__main__":
    main()
