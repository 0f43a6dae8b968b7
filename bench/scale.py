"""What grows with the number of assets, step of ten by step of ten, with the real code.

    python -m bench.scale --assets 1000 10000 100000

Round: `enqueue_secondary` reads the catalogue, searches the holes of each series and enqueues what
is due, here every price and every series. Memory is the process' peak during the round, and what
Redis holds after it. Claim is Redis' time for the next call, and store is one answer of 250 prices.
Each number of assets has a database, a queue and a process of its own.
"""

import argparse
import contextlib
import resource
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, NamedTuple

from bench.servers import ROOT, database, server
from db.connection import connect
from db.refresh import RefreshWriter
from db.rows import CallAudit, SymbolRefresh
from queueing import Claimed
from runtime.context import Context
from settings import Settings
from worker.capabilities import Capabilities
from worker.secondary import enqueue_secondary

FILL = """
    INSERT INTO trading.symbols (symbol, polygon_ticker, asset_type, priority)
    SELECT 'Q' || n, 'X:Q' || n || 'USD', 'crypto', 3 FROM generate_series(1, %s) AS n"""
BATCH, ROUNDS = 250, 20


class Price(NamedTuple):
    """What `RefreshWriter` asks of a price."""

    last: Decimal
    as_of: datetime
    bid: Decimal | None = None
    ask: Decimal | None = None
    daily_open: Decimal | None = None
    daily_high: Decimal | None = None
    daily_low: Decimal | None = None
    daily_close: Decimal | None = None
    source: str = "bench"
    delay: str = "real_time"
    basis: str = "trade"


def ms_of(action: Any) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter()
    action()
    return (time.perf_counter() - start) * 1000


def store_ms(connection: Any, take: int) -> float:
    """One answer of 250 prices, stored."""
    now = datetime.now(UTC)
    call = CallAudit(f"c{take}", "/v3/snapshot", "snapshot", (), 200, "ok", now, 20)
    first = 1 + take * BATCH
    price = Price(Decimal("1.25"), now)
    refreshes = [SymbolRefresh(f"Q{n}", price) for n in range(first, first + BATCH)]
    writer = RefreshWriter(connection)
    return ms_of(lambda: writer.write(int(now.timestamp() * 1000), call, refreshes))


def claim_us(context: Context) -> float:
    """Redis' time for one claim of one item."""
    time.sleep(2 * context.settings.spacing_ms / 1000)
    context.redis.config_resetstat()
    assert isinstance(context.queue.claim(drain="bench"), Claimed)
    stats: Any = context.redis.info("commandstats")
    return float(stats["cmdstat_evalsha"]["usec"])


def measure(assets: int, redis_url: str, database_url: str) -> list[str]:
    """The cells of one row."""
    given = {
        "REDIS_URL": redis_url, "DATABASE_URL": database_url, "MASSIVE_API_KEY": "bench",
        "POLYGON_TIER": "developer", "PRIORITY_ASSETS_ENABLED": "false",
    }  # fmt: skip
    settings = Settings.load(given, env_file=None)
    with (
        contextlib.redirect_stdout(sys.stderr),
        connect(database_url, statement_timeout_s=600) as connection,
        Context.open(settings) as context,
    ):
        connection.execute(FILL, (assets,))
        connection.execute("ANALYZE")
        capabilities = Capabilities(context)
        round_s = ms_of(lambda: enqueue_secondary(context, connection, capabilities))
        peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        info: Any = context.redis.info("memory")
        claim_us(context)  # loads the script
        claims = [claim_us(context) for _ in range(ROUNDS)]
        stores = [store_ms(connection, take) for take in range(min(ROUNDS, assets // BATCH))]
    return [
        f"{assets:,}", f"{round_s / 1000:.1f} s", f"{peak_mb:,.0f} MB",
        f"{info['used_memory'] / 2**20:,.0f} MB", f"{statistics.median(claims):.0f} µs",
        f"{statistics.median(stores):.1f} ms",
    ]  # fmt: skip


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--assets", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        count, redis_url, database_url = arguments.one
        print(f"| {' | '.join(measure(int(count), redis_url, database_url))} |")
        return
    print("| assets | round | memory of its process | of Redis | claim | store 250 prices |")
    print("|---|---|---|---|---|---|", flush=True)
    for count in arguments.assets:
        with server() as redis_url, database() as url:
            words = ["--one", str(count), redis_url, url]
            subprocess.run([sys.executable, "-m", "bench.scale", *words], cwd=ROOT, check=True)


if __name__ == "__main__":
    main()
