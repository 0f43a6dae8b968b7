"""20 million bars in PostgreSQL: what readers and workers ask for, and whether size slows it.

    python -m bench.bars                 # 95 assets, two years: some five minutes, 5 GB of disk
    python -m bench.bars --plans         # with the plan of each query

Every query is asked of a small table (a tenth of the assets, each with its two years), then of the
whole one. Exit code 1 tells that one became slower by more than `SLOWER`, as it would if it read
more than its own asset.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import psycopg
import structlog

from db.connection import connect
from db.coverage import FIVE_MINUTES, SETTLED
from db.migrate import migrate
from db.queries import sql
from db.symbols import Asset, SymbolRepository
from local.servers.postgres import PostgresServer

TODAY: Final = date(2026, 11, 1)
DAY: Final = timedelta(days=1)
SLOWER: Final = 3.0
"""By how much a query of one asset may be slower in the table ten times as large, before it counts
as one that reads the others too: caches and a busy machine take their share."""
NOISE_MS: Final = 20.0
"""Below this a ratio tells of the machine."""
ROOM_GB: Final = 10
"""Free disk that the run asks for: table, index and log of 20 million bars are about half of it."""
_CALL_DAYS: Final = 34

# As a history arrives: the newest days of one asset after the other, then those before.
_FILL: Final = """
    INSERT INTO market_data.ohlcv_5m (symbol_id, ts, open, high, low, close, volume, vwap, trades,
                                      source, observed_at_ms)
    SELECT s.id, ts, p, p + 0.00031, p - 0.00029, p + 0.00007, 1234.5678, p + 0.00002, 97,
           'aggregates', 1790000000000
    FROM trading.symbols AS s
    CROSS JOIN generate_series(%(start)s::timestamptz, %(end)s::timestamptz - interval '5 minutes',
                               interval '5 minutes') AS ts
    CROSS JOIN LATERAL (
        SELECT round((1.1 + sin(extract(epoch FROM ts)::float8 / 1e6) / 10)::numeric, 5) AS p
    ) AS price
    WHERE s.symbol = ANY(%(symbols)s)
    ORDER BY s.symbol, ts"""
_COVER: Final = """
    INSERT INTO market_data.coverage_days (symbol_id, timeframe, day, asked_at, whole, bars,
                                           refused, expected, look_again_at)
    SELECT s.id, '5m', d::date, now(), true, 288, 0, 288, NULL
    FROM trading.symbols AS s
    CROSS JOIN generate_series(%(start)s::timestamp, %(end)s::timestamp - interval '1 day',
                               interval '1 day') AS d
    WHERE s.symbol = ANY(%(symbols)s) AND d::date <> %(hole)s"""


@dataclass(frozen=True)
class Query:
    """A statement of the product as its callers ask it."""

    what: str
    statement: str
    parameters: dict[str, Any]


def queries(symbols: Sequence[str], days: int) -> list[Query]:
    """What is measured; `symbols` are those of the search for holes, its last one is read."""
    newest = datetime(TODAY.year, TODAY.month, TODAY.day, tzinfo=UTC)
    oldest = newest - timedelta(days=days)
    one = {"symbol": symbols[-1], "end": newest, "limit": None}
    views = [
        Query(
            f"90 days through `{view}`",
            sql("read_made_bars").format(table=f"market_data.{view}"),
            one | {"start": newest - timedelta(days=90)},
        )
        for view in ("ohlcv_15m", "ohlcv_1h", "ohlcv_4h", "ohlcv_1d_utc")
    ]
    before = oldest.date() - timedelta(days=days)
    read = sql("read_bars").format(table="market_data.ohlcv_5m")
    holes = {
        "timeframe": FIVE_MINUTES,
        "first": oldest.date(),
        "last": TODAY - DAY,
        "now": newest,
        "settled": (newest - SETTLED).date() - DAY,
        "span_days": _CALL_DAYS,
    }
    return [
        Query("90 days of bars", read, one | {"start": newest - timedelta(days=90)}),
        *views,
        Query("a page of 50,000 bars", read, one | {"start": oldest, "limit": 50_000}),
        Query("newest hole, one series", sql("newest_holes"), holes | {"symbols": [symbols[-1]]}),
        Query("newest holes, all series", sql("newest_holes"), holes | {"symbols": list(symbols)}),
        Query(
            "the same, all series empty",
            sql("newest_holes"),
            holes | {"symbols": list(symbols), "first": before, "last": oldest.date() - DAY},
        ),
    ]


@dataclass(frozen=True)
class Measured:
    """The median of its runs, what its plan reads the bars by, and the pages it touches."""

    ms: float
    rows: int
    pages: int
    scans: str
    plan: str


def measure(connection: psycopg.Connection[tuple[Any, ...]], query: Query, runs: int) -> Measured:
    """Ask, all rows fetched, `runs` times after one that warms the cache."""
    took = []
    for _ in range(runs + 1):
        began_s = time.perf_counter()
        rows = connection.execute(query.statement.encode(), query.parameters).fetchall()
        took.append((time.perf_counter() - began_s) * 1000)

    def explained(form: str) -> Any:
        explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT {form}) {query.statement}"
        return connection.execute(explain.encode(), query.parameters).fetchall()

    root = explained("JSON")[0][0][0]["Plan"]
    pages = root["Shared Hit Blocks"] + root["Shared Read Blocks"]
    plan = "\n".join(line for (line,) in explained("TEXT"))
    return Measured(statistics.median(took[1:]), len(rows), pages, ", ".join(_scans(root)), plan)


def _scans(node: dict[str, Any]) -> list[str]:
    """How a plan reads bars and coverage, in its order, each once."""
    table = node.get("Relation Name", "")
    own = []
    if table in ("ohlcv_5m", "coverage_days") or node.get("Index Name", "").startswith("ohlcv_5m"):
        own.append(f"{node['Node Type']} of {table or node['Index Name']}")
    return list(dict.fromkeys(own + [scan for p in node.get("Plans", ()) for scan in _scans(p)]))


def fill(url: str, symbols: Sequence[str], days: int) -> None:
    """Stores the bars of these assets and their coverage, which lacks one day, as it came."""
    with connect(url) as connection:
        assets = [Asset(name, f"X:{name}", "crypto") for name in symbols]
        SymbolRepository(connection).upsert_many(assets)
    with psycopg.connect(url, autocommit=True) as plain:
        end, first = TODAY, TODAY - timedelta(days=days)
        hole = TODAY - timedelta(days=days // 2)
        while end > first:
            start = max(first, end - timedelta(days=_CALL_DAYS))
            span = {"symbols": list(symbols), "start": start, "end": end, "hole": hole}
            plain.execute(_FILL.encode(), span)
            plain.execute(_COVER.encode(), span)
            end = start
        plain.execute("VACUUM (ANALYZE) market_data.ohlcv_5m")
        plain.execute("VACUUM (ANALYZE) market_data.coverage_days")


def size_of(url: str) -> str:
    """Bars, and the size of table and index."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            "SELECT count(*), pg_table_size('market_data.ohlcv_5m') / 1e9, "
            "pg_indexes_size('market_data.ohlcv_5m') / 1e9 FROM market_data.ohlcv_5m"
        ).fetchone()
    assert row is not None
    return f"{row[0]:,} bars, {row[1]:.2f} GB and {row[2]:.2f} GB of index"


def run(url: str, assets: int, days: int, runs: int) -> tuple[list[Measured], list[Measured]]:
    """Measures the small and the whole table; prints what is in them."""
    symbols = [f"T{n:03d}USD" for n in range(assets)]
    few = symbols[: max(1, assets // 10)]
    found = []
    for there, more in ((few, few), (symbols, symbols[len(few) :])):
        began_s = time.monotonic()
        fill(url, more, days)
        print(f"{size_of(url)} ({time.monotonic() - began_s:.0f} s)", flush=True)
        with psycopg.connect(url, autocommit=True) as connection:
            # The same asset each time; the search for all of them grows with their number.
            asked = queries([*(name for name in there if name != few[-1]), few[-1]], days)
            found.append([measure(connection, query, runs) for query in asked])
    return found[0], found[1]


def show(small: list[Measured], whole: list[Measured], names: Sequence[str]) -> list[str]:
    """Prints the table; returns the queries of one asset that the size made slower."""
    print("| asked | rows | a tenth | whole | ratio | pages | read by |")
    print("|---|---|---|---|---|---|---|")
    slower = []
    for name, before, after in zip(names, small, whole, strict=True):
        ratio = after.ms / before.ms
        print(
            f"| {name} | {after.rows:,} | {before.ms:.0f} ms | {after.ms:.0f} ms | {ratio:.1f} |"
            f" {before.pages:,} → {after.pages:,} | {after.scans} |"
        )
        if ratio > SLOWER and after.ms > NOISE_MS and "all series" not in name:
            slower.append(f"{name}: {ratio:.1f} times as slow in the larger table")
    return slower


def main() -> int:
    """1 if a query of one asset depends on how many others there are."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--assets", type=int, default=95)
    parser.add_argument("--days", type=int, default=730)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--plans", action="store_true", help="print the plans as well")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    with tempfile.TemporaryDirectory(prefix="assetq-bars-") as folder:
        needed = ROOM_GB * 1e9 * options.assets * options.days / (95 * 730)
        if (free := shutil.disk_usage(folder).free) < needed:
            print(f"{folder}: {free / 1e9:.0f} GB free, {needed / 1e9:.0f} are needed")
            return 1
        Path(folder).chmod(0o755)
        server = PostgresServer(Path(folder) / "postgres", durable=False)
        server.start()
        try:
            url = server.ensure_database("bars")
            migrate(url)
            small, whole = run(url, options.assets, options.days, options.runs)
        finally:
            server.stop()
    names = [query.what for query in queries(["any"], options.days)]
    slower = show(small, whole, names)
    if options.plans:
        print(*(f"\n{name}\n{one.plan}" for name, one in zip(names, whole, strict=True)), sep="\n")
    print(*slower, sep="\n")
    return int(bool(slower))


if __name__ == "__main__":
    sys.exit(main())
