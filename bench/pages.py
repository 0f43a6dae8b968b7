"""What a page costs with 5,000 assets beside 50, and /healthz under open tabs and silent sockets.

    python -m bench.pages --assets 5000 --rounds 40

Two sites, each with servers and a web process of its own, take turns: the machine's load is the
same for both. Each asset has a price, and two items wait for it. Server time is what lies between
a request and its whole answer on a connection that is kept.
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from bench.servers import ROOT, server
from db.connection import connect, unit_of_work
from db.migrate import migrate
from db.symbols import Asset, SymbolRepository
from local.servers.postgres import PostgresServer
from local.servers.process import dying_with_us
from local.servers.server import free_port
from queueing import Priority, Request
from runtime.context import Context
from settings import Settings

PAGES = (
    *("", "freshness", "freshness?q=asset&sort=age", "asset?symbol=A00007USD", "quota", "health"),
    *("health/batch", "metrics"),
)
SMALL = 50
TABS, SILENT = 40, 20
FILL = b"""
UPDATE trading.symbols SET metadata = jsonb_build_object('last_update', jsonb_build_object(
    'last_price', 1.25 + id_number, 'daily_open', 1.2 + id_number, 'source', 'snapshot',
    'delay', 'real_time',
    'as_of', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US') || '+00:00',
    'observed_at_ms', (extract(epoch from now()) * 1000)::bigint - 1000 * id_number))
FROM (SELECT symbol AS known, row_number() OVER (ORDER BY symbol) AS id_number
      FROM trading.symbols) AS numbered WHERE symbol = known
"""


PAST = (
    b"""
INSERT INTO market_data.ohlcv_5m
    (symbol_id, ts, open, high, low, close, volume, source, observed_at_ms)
SELECT id, ts, 1.2, 1.3, 1.1, 1.25, 9, 'aggregates', (extract(epoch from ts) * 1000)::bigint
FROM trading.symbols, generate_series(date_bin('5 min', now(), 'epoch') - interval '1 day', now(),
                                      interval '5 min') AS ts
""",
    b"""
INSERT INTO data_sources.api_calls
    (call_id, provider, endpoint, feed, tickers, status, outcome, started_at, latency_ms)
SELECT 'bench:' || number, 'massive', '/v2/x', 'snapshot', ARRAY[polygon_ticker], 200, 'ok',
       now() - number * interval '12 seconds', 90
FROM generate_series(1, 7200) AS number
JOIN (SELECT polygon_ticker, row_number() OVER (ORDER BY symbol) - 1 AS place,
             count(*) OVER () AS assets FROM trading.symbols) AS numbered
    ON place = number % assets
""",
    b"""
INSERT INTO assetq.hours
SELECT 'massive', hour, hour + interval '59 min', 170, 20, 90, 0, 1, 9000,
       ARRAY[9, 9, 9, 9, 9, 9, 9, 0, 0, 0, 0, 0], 50, 2, 99, '{}', '{}'
FROM generate_series(date_trunc('hour', now()) - interval '90 days', now(), interval '1 hour')
     AS hour
""",
    b"ANALYZE",
)
"""A day of bars for each asset, a day of five calls a minute, and 90 days of hourly figures."""


@dataclass
class Measured:
    """A site with its web process."""

    port: int
    session: requests.Session

    @property
    def url(self) -> str:
        """Where its pages are, with a slash at the end."""
        return f"http://127.0.0.1:{self.port}/"

    def ms(self, path: str) -> float:
        """How long one answer takes."""
        began = time.perf_counter()
        answer = self.session.get(self.url + path, timeout=30)
        took = (time.perf_counter() - began) * 1000
        # No worker runs here, which is no trouble in the first minute only.
        assert answer.ok or path == "health/batch", (path, answer.status_code)
        return took


def fill(settings: Settings, count: int) -> None:
    """That many assets, each with a price, and twice as many items."""
    assets = [
        Asset(f"A{n:05}USD", f"X:A{n:05}USD", "crypto", f"Asset {n}", 2 + n % 3)
        for n in range(count)
    ]
    with connect(settings.database_url, statement_timeout_s=300) as connection:
        SymbolRepository(connection).upsert_many(assets)
        with unit_of_work(connection):
            for statement in (FILL, *PAST):
                connection.execute(statement)
    with Context.open(settings) as context:
        for kind, band in (("", Priority.LOW), ("/5m", Priority.BACKFILL)):
            wanted = [
                Request(f"{a.symbol}{kind}", {"symbol": a.symbol, "ticker": a.polygon_ticker})
                for a in assets
            ]
            context.queue.enqueue(wanted, band)
        context.limiter.consume(5)


@contextmanager
def site(count: int, postgres: PostgresServer) -> Iterator[Measured]:
    """A filled site whose web process answers."""
    with ExitStack() as stack:
        url = postgres.ensure_database(f"pages_{count}")
        migrate(url)
        env = {
            "REDIS_URL": stack.enter_context(server()),
            "DATABASE_URL": url,
            "QUEUE_MAX_SIZE": str(4 * count),
            "PORT": str(free_port()),
        }
        fill(Settings.load(env, env_file=None), count)
        process = subprocess.Popen(
            [str(ROOT / "bin" / "assetq"), "web"],
            cwd=ROOT,
            env=os.environ | env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=dying_with_us(),
        )
        stack.callback(process.wait)
        stack.callback(process.terminate)
        session = stack.enter_context(requests.Session())
        session.trust_env = False
        found = Measured(int(env["PORT"]), session)
        until = time.monotonic() + 30
        while True:
            try:
                found.ms("healthz")
                break
            except requests.ConnectionError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)
        yield found


def compare(few: Measured, many: Measured, rounds: int) -> bool:
    """Print a row per page; True if none costs more than half as much again."""
    print("| page | ms with 50 | ms with many | ratio | slowest of many |\n|---|---|---|---|---|")
    within = True
    for path in PAGES:
        for each in (few, many):
            each.ms(path)
        pairs = [(few.ms(path), many.ms(path)) for _ in range(rounds)]
        small, large = (statistics.median(each) for each in zip(*pairs, strict=True))
        within &= path == "metrics" or large <= 1.5 * small
        slowest = max(pair[1] for pair in pairs)
        name = f"/{path}"
        print(f"| {name} | {small:.1f} | {large:.1f} | {large / small:.2f} | {slowest:.0f} |")
    return within


def under_tabs(many: Measured, rounds: int) -> list[float]:
    """The times of /healthz while tabs are open and sockets silent."""
    with ExitStack() as stack:
        for _ in range(SILENT):
            sock = socket.create_connection(("127.0.0.1", many.port))
            stack.enter_context(sock)
        streams = 0
        for _ in range(TABS):
            session = stack.enter_context(requests.Session())
            session.trust_env = False
            answer = session.get(f"{many.url}live", stream=True, timeout=10)
            stack.enter_context(answer)
            streams += answer.status_code == 200
        found = [many.ms("healthz") for _ in range(rounds)]
    print(
        f"\n`/healthz` with {TABS} tabs ({streams} streams, the others poll) and {SILENT} silent "
        f"sockets:\nmedian {statistics.median(found):.1f} ms, slowest {max(found):.1f} ms."
    )
    return found


def main() -> None:
    """Prints a Markdown table; exit code 1 if a bound is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assets", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=40)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="assetq-bench-") as folder:
        postgres = PostgresServer(Path(folder), durable=False)
        postgres.start()
        try:
            with site(SMALL, postgres) as few, site(asked.assets, postgres) as many:
                within = compare(few, many, asked.rounds)
                found = under_tabs(many, 5 * asked.rounds)
        finally:
            postgres.stop()
    sys.exit(0 if within and max(found) < 50 else 1)


if __name__ == "__main__":
    main()
