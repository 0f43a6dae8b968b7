"""A whole history on the free plan, value by value, with real processes and servers.

    python -m bench.history                         # 95 assets, two years: about half an hour
    python -m bench.history --assets 4 --days 60    # seconds

Scheduler and workers as the Procfile starts them, against the sandbox (plan free) whose minute is
half a second long. At the end every 5-minute bar that the sandbox has must be in the table with
every value, and nothing else; exit code 1 tells that a promise was broken.
"""

import argparse
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from redis import Redis

from bench.servers import database, equipped, server
from db.symbols import Asset
from local.sandbox.hours import DAY_MS, open_minutes
from local.sandbox.instruments import load_instruments
from local.sandbox.series import Series
from market.coverage import CALL_MINUTES
from market.tickers import asset_kind
from queueing import Keys, Policy, PriorityQueue
from settings.checkout import CATALOGUE
from tests.chaos.fleet import Fleet
from tests.chaos.soak import fetch, judge
from tests.kit.truth import compare, mixed_assets

LIMIT, REAL_WINDOW_S = 5, 60.1
"""The plan's calls, and how long each holds its place at the real quota (answers aside)."""
SERIES_LEFT = """
    SELECT count(*) FROM trading.symbols AS s
    WHERE (SELECT count(*) FROM market_data.coverage_days AS c
           WHERE c.symbol_id = s.id AND c.timeframe = '5m' AND c.whole
             AND c.day >= %(first)s AND c.day < %(today)s)
        -- Forex is closed on a Saturday: no call asks for one that ends the range.
        < %(days)s - (s.polygon_ticker NOT LIKE 'X:%%'
                      AND extract(isodow FROM %(today)s::date) = 7)::int"""
NOT_NEWEST = """
    SELECT count(*) FROM trading.symbols AS s
    LEFT JOIN trading.latest_prices AS p ON p.symbol = s.symbol
    WHERE p.as_of IS NULL OR p.as_of < %(closed)s - CASE WHEN s.polygon_ticker LIKE 'X:%%'
        THEN interval '0' ELSE interval '3 days' END"""


@dataclass(frozen=True)
class Setup:
    """How much is run."""

    assets: int = 95
    days: int = 730
    window_s: float = 0.5
    workers: int = 3
    log: Path = Path(os.devnull)


@dataclass
class Found:
    """What a run brought, and the promises it broke."""

    assets: int
    days: int
    bars: int = 0
    lacking: int = 0
    surplus: int = 0
    calls: int = 0
    least_calls: int = 0
    by_status: dict[str, int] = field(default_factory=dict)
    hours_at_the_real_quota: float = 0.0
    minutes_here: float = 0.0
    worst_window: int = 0
    prices_after_s: float = 0.0
    stale_prices_later: int = 0
    batches: int = 0
    latest_batch_s: float = 0.0
    broken: list[str] = field(default_factory=list)

    def judge(self) -> None:
        """Name every promise that was not kept."""
        promises = {
            f"{self.lacking} bars lack or differ": self.lacking == 0,
            f"{self.surplus} bars are none of the sandbox's": self.surplus == 0,
            f"{self.calls} calls, {self.least_calls} would do": (
                # A probe for each feed that the plan refuses, and for each market.
                self.calls <= 1.1 * self.least_calls + 4
            ),
            f"{self.worst_window} calls in one window": self.worst_window <= LIMIT,
            f"{self.hours_at_the_real_quota} h at the real quota": (
                self.hours_at_the_real_quota <= 7
            ),
            f"{self.stale_prices_later} looks found a stale price": self.stale_prices_later == 0,
            f"a batch began {self.latest_batch_s} s late": self.latest_batch_s <= 5,
        }
        self.broken = [what for what, kept in promises.items() if not kept]


def prove(redis_url: str, database_url: str, setup: Setup) -> Found:
    """Run on these servers until every series is whole, and judge it."""
    chosen = mixed_assets(setup.assets)
    today_ms = int(time.time() * 1000) // DAY_MS * DAY_MS
    since_ms = today_ms - setup.days * DAY_MS
    found = Found(len(chosen), setup.days)
    sandbox = f"--plan free --window-s {setup.window_s}"
    with equipped(redis_url, database_url, chosen, sandbox, **_settings(setup)) as there:
        fleet = Fleet(there.env, setup.workers, setup.log)
        try:
            _watch(database_url, setup.days, today_ms, found)
            _batches(redis_url, found)
        finally:
            fleet.stop()
        _calls(fetch(f"{there.provider}/_sandbox/arrivals"), setup, found)
    found.least_calls = 2 + sum(
        -(-open_minutes(asset_kind(a.polygon_ticker), since_ms, today_ms) // CALL_MINUTES)
        for a in chosen
    )
    _compare(database_url, chosen, (_utc(since_ms), _utc(today_ms)), found)
    found.judge()
    return found


def _settings(setup: Setup) -> dict[str, str]:
    return {
        "POLYGON_TIER": "free",
        "RATE_WINDOW_SECONDS": str(setup.window_s),
        "HISTORY_DAYS": str(setup.days),
        "BATCH_INTERVAL_MINUTES": "1",
        "SECONDARY_INTERVAL_MINUTES": "1",
    }


def _watch(database_url: str, days: int, today_ms: int, found: Found) -> None:
    """Wait until every day of every series was asked for; look at all prices meanwhile."""
    closed = _utc(today_ms)
    parameters = {
        "first": (closed - timedelta(days=days)).date(),
        "today": closed.date(),
        "days": days,
        "closed": closed,
    }
    began_s = told_s = time.monotonic()
    with psycopg.connect(database_url, autocommit=True) as connection:
        while left := _one(connection, SERIES_LEFT, parameters):
            now_s = time.monotonic()
            not_newest = _one(connection, NOT_NEWEST, parameters)
            if not not_newest and not found.prices_after_s:
                found.prices_after_s = round(now_s - began_s, 1)
            found.stale_prices_later += bool(found.prices_after_s and not_newest)
            if now_s - told_s >= 15:
                told_s = now_s
                bars = _one(connection, "SELECT sum(bars) FROM market_data.coverage_days", {})
                print(
                    f"{now_s - began_s:6.0f} s  {left} series to go, {bars:,} bars, "
                    f"{not_newest} prices not the newest",
                    flush=True,
                )
            time.sleep(0.5)
    found.minutes_here = round((time.monotonic() - began_s) / 60, 1)


def _utc(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _one(
    connection: psycopg.Connection[tuple[Any, ...]], query: str, parameters: dict[str, object]
) -> int:
    row = connection.execute(query.encode(), parameters).fetchone()
    return int(row[0] or 0) if row else 0


def _batches(redis_url: str, found: Found) -> None:
    """How late batches began; the first one follows a start, not a slot."""
    with Redis.from_url(redis_url, decode_responses=True) as redis:
        batches = PriorityQueue(redis, Policy(), keys=Keys()).batches(300)[:-1]
    found.batches = len(batches)
    late_ms = [batch.started_at_ms - batch.planned_at_ms for batch in batches]
    found.latest_batch_s = max(late_ms, default=0) / 1000


def _calls(arrivals: Sequence[dict[str, object]], setup: Setup, found: Found) -> None:
    """What the provider counted."""
    times = [int(str(row["mono_ns"])) / 1e9 for row in arrivals]
    found.calls = len(times)
    found.by_status = dict(sorted(Counter(str(row["status"]) for row in arrivals).items()))
    found.worst_window = judge(times, LIMIT, setup.window_s)[0]
    found.hours_at_the_real_quota = round(found.calls / LIMIT * REAL_WINDOW_S / 3600, 2)


def _compare(
    database_url: str, assets: Sequence[Asset], span: tuple[datetime, datetime], found: Found
) -> None:
    """Every value of every bar, in SQL, asset by asset."""
    series = Series(load_instruments([CATALOGUE]))
    with psycopg.connect(database_url) as connection:
        for number, asset in enumerate(assets, 1):
            compared = compare(connection, series, asset, *span)
            found.bars += compared.expected
            found.lacking += compared.lacking
            found.surplus += compared.surplus
            if not compared.equal or number % 10 == 0:
                print(f"compared {number} of {len(assets)}: {compared}", flush=True)
        stored = _one(connection, "SELECT count(*) FROM market_data.ohlcv_5m", {})
    found.surplus = max(found.surplus, stored - found.bars)


def main() -> int:
    """Prints JSON; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--assets", type=int, default=95)
    parser.add_argument("--days", type=int, default=730)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--window", type=float, default=0.5, help="seconds that are a minute")
    parser.add_argument("--log", type=Path, default=Path(os.devnull))
    given = parser.parse_args()
    setup = Setup(given.assets, given.days, given.window, given.workers, given.log)
    with server() as redis_url, database() as database_url:
        found = prove(redis_url, database_url, setup)
    print(json.dumps(asdict(found), indent=2))
    return int(bool(found.broken))


if __name__ == "__main__":
    sys.exit(main())
