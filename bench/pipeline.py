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
import string
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests
from redis import Redis

from bench.servers import processes, stand
from db.connection import Connection, connect
from db.symbols import Asset

SAMPLE = {"rq worker": 100, "rq SimpleWorker": 500}
ANSWER = "delay,min_s=0.02,max_s=0.02"
SETTINGS = {
    "POLYGON_TIER": "starter",
    "PRIORITY_ASSETS_ENABLED": "false",
    "SECONDARY_INTERVAL_MINUTES": "1440",
    "QUEUE_MAX_SIZE": "100000",
}
MARKET = "/v2/snapshot/locale/global/markets/crypto/tickers"
PRICED = "SELECT count(*) FROM trading.symbols WHERE metadata ? 'last_update'"


def refresh(symbol: str, ticker: str) -> None:
    """The job of the plain program."""
    import psycopg

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
    """What is measured: `env` is what processes read."""

    def __init__(self, connection: Connection, env: Mapping[str, str]) -> None:
        self.connection = connection
        self.env = env

    def priced(self) -> int:
        """How many assets have a price."""
        row = self.connection.execute(PRICED).fetchone()
        assert row is not None
        return int(row[0])

    def rate(self, ask: Callable[[], object], count: int) -> float:
        """Assets a second, from the request to the last row that changes; one minute at most."""
        self.connection.execute("UPDATE trading.symbols SET metadata = '{}'")
        start = time.perf_counter()
        ask()
        ends = start + 60
        while (done := self.priced()) < count and time.perf_counter() < ends:
            time.sleep(0.02)
        return done / (time.perf_counter() - start)


def answers(site: Site, redis: Redis, names: list[str]) -> float:
    """The slowest stage alone: the sandbox answers both workers about the whole market."""

    def ask(_: int) -> None:
        requests.get(site.env["POLYGON_BASE_URL"] + MARKET, {"apiKey": "bench"}, timeout=120)

    start = time.perf_counter()
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(ask, range(2)))
    return len(names) / (time.perf_counter() - start)


def assetq(site: Site, redis: Redis, names: list[str]) -> float:
    """Ours, asked as `assetq enqueue` asks."""
    from db.symbols import SymbolRepository
    from runtime.context import Context
    from settings import Settings
    from tests.chaos.fleet import procfile
    from worker.ticks import start_drain
    from worker.work import price_request

    context = Context.on(redis, Settings.load(site.env, env_file=None))
    wanted = SymbolRepository(site.connection).get_many(names)
    requests_ = [price_request(wanted[name]) for name in names]

    def ask() -> None:
        context.queue.enqueue(requests_)
        start_drain(context)

    commands = [procfile("worker"), procfile("worker"), procfile("scheduler")]
    with processes(commands, site.env, settle_s=6):
        while site.priced() < len(names):  # the first round of the scheduler
            time.sleep(0.1)
        return site.rate(ask, len(names))


def rq(worker_class: str) -> Callable[[Site, Redis, list[str]], float]:
    """RQ with a job per asset."""

    def run(site: Site, redis: Redis, names: list[str]) -> float:
        """Assets a second."""
        from rq import Queue

        chosen = names[: SAMPLE[worker_class]]
        queue = Queue("bench", connection=redis, serializer="json")
        jobs = [
            Queue.prepare_data("bench.pipeline.refresh", (name, f"X:{name}USD")) for name in chosen
        ]
        program = str(Path(sys.executable).parent / "rq")
        kind = f"rq.{worker_class.split()[1].replace('worker', 'Worker')}"
        command = [program, "worker", "-q", "-S", "json", "-u", site.env["REDIS_URL"], "-w", kind]
        with processes([[*command, "bench"]] * 2, site.env, settle_s=6):
            return site.rate(lambda: queue.enqueue_many(jobs), len(chosen))

    return run


BY_NAME: dict[str, Callable[[Site, Redis, list[str]], float]] = {
    "the provider's answers alone": answers,
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
    assets = [Asset(name, f"X:{name}USD", "crypto", priority=3) for name in names]
    found = {}
    with tempfile.TemporaryDirectory(prefix="assetq-bench-") as folder:
        tickers = Path(folder) / "tickers"
        tickers.write_text("\n".join(asset.polygon_ticker for asset in assets))
        sandbox = f"--plan starter --limit 0 --tickers {tickers} --fault {ANSWER}"
        with (
            stand(assets, sandbox, **SETTINGS) as there,
            connect(there.database_url) as connection,
            Redis.from_url(there.redis_url) as redis,
        ):
            # The sandbox makes each coin's day up once, which takes a few ms a coin.
            requests.get(f"{there.provider}{MARKET}", params={"apiKey": "bench"}, timeout=120)
            for name, run in BY_NAME.items():
                redis.flushall()
                found[name] = run(Site(connection, there.env), redis, names)
    for name, rate in found.items():
        print(f"| {name} | {rate:,.0f} | {rate / found['rq worker']:.1f} |")


if __name__ == "__main__":
    main()
