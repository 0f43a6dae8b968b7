"""Two thousand assets on a plan without a limit: calls a round, and bars, with real processes.

    python -m bench.many                  # 2,000 assets, four rounds: some minutes
    python -m bench.many --assets 600     # a minute or two

Scheduler and workers as the Procfile starts them, against the sandbox (plan starter), half forex
and half crypto, with a round each minute. Exit code 1 tells that a promise was broken.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg

from bench.servers import stand
from db.symbols import Asset
from local.sandbox.hours import DAY_MS
from local.sandbox.instruments import load_instruments
from local.sandbox.series import Series
from tests.chaos.fleet import Fleet
from tests.chaos.soak import fetch
from tests.kit.truth import compare
from tests.kit.worker import CRITICAL

ROUND_MS = 60_000
MOST_CALLS = 8
COMPARED = 40
"""Series whose bars are compared value by value."""
SETTINGS = {
    "POLYGON_TIER": "starter",
    "HISTORY_DAYS": "1",
    "BATCH_INTERVAL_MINUTES": "1",
    "SECONDARY_INTERVAL_MINUTES": "1",
    "REQUEST_TIMEOUT_SECONDS": "15",
}
FRESH = """
    SELECT count(*) FROM trading.symbols
    WHERE (metadata #>> '{last_update,observed_at_ms}')::bigint >= %(since)s"""
WHOLE = """
    SELECT count(*) FROM market_data.coverage
    WHERE timeframe = '5m' AND day = %(day)s AND status IN ('complete', 'closed')"""


@dataclass
class Found:
    """What a run brought, and the promises it broke."""

    assets: int
    rounds: int = 0
    price_calls: list[int] = field(default_factory=list)
    """Of each round, those of its batch included."""
    by_feed: dict[str, int] = field(default_factory=dict)
    fresh: int = 0
    """Assets whose price is younger than two rounds, at the end."""
    whole_days: int = 0
    """Series whose last completed day is whole."""
    bars_after_s: float = 0.0
    compared: int = 0
    differ: int = 0
    broken: list[str] = field(default_factory=list)

    def judge(self) -> None:
        """Name every promise that was not kept."""
        promises = {
            f"{max(self.price_calls, default=0)} calls for prices in a round": (
                0 < max(self.price_calls, default=0) <= MOST_CALLS
            ),
            f"{self.fresh} of {self.assets} prices are fresh": self.fresh == self.assets,
            f"{self.whole_days} of {self.assets} days are whole": self.whole_days == self.assets,
            f"{self.differ} bars differ": self.differ == 0,
        }
        self.broken = [what for what, kept in promises.items() if not kept]


def assets_of(count: int) -> list[Asset]:
    """The critical three, and pairs without a meaning, half of each market."""
    coins = [Asset(f"K{n:04}USD", f"X:K{n:04}USD", "crypto", None, 3, 60) for n in range(count)]
    forex = [Asset(f"F{n:04}USD", f"C:F{n:04}USD", "forex", None, 3, 60) for n in range(count)]
    mixed = [asset for pair in zip(coins, forex, strict=True) for asset in pair]
    return [*CRITICAL, *mixed][:count]


def prove(folder: Path, count: int, rounds: int) -> Found:
    """Run until the bars are whole and some rounds are over, and judge it."""
    assets, found = assets_of(count), Found(count)
    listed = folder / "tickers.txt"
    listed.write_text("\n".join(asset.polygon_ticker for asset in assets))
    with stand(assets, f"--plan starter --limit 0 --tickers {listed}", **SETTINGS) as there:
        fleet = Fleet(there.env, 2, folder / "fleet.log")
        try:
            _watch(there.database_url, rounds, found)
        finally:
            fleet.stop()
        _calls(fetch(f"{there.provider}/_sandbox/arrivals"), found)
        _compare(there.database_url, assets, listed, found)
    found.judge()
    return found


def _watch(database_url: str, rounds: int, found: Found) -> None:
    """Until the day before is whole for all, and for some rounds more."""
    began_s, day = time.monotonic(), (datetime.now(UTC) - timedelta(days=1)).date()
    left_ms: float | None = None
    with psycopg.connect(database_url, autocommit=True) as connection:
        while left_ms is None or time.time() * 1000 < left_ms:
            [[found.whole_days]] = connection.execute(WHOLE.encode(), {"day": day}).fetchall()
            now_ms = time.time() * 1000
            if found.whole_days == found.assets and left_ms is None:
                found.bars_after_s = round(time.monotonic() - began_s, 1)
                left_ms = (now_ms // ROUND_MS + rounds + 1) * ROUND_MS - 5_000
            print(f"{time.monotonic() - began_s:6.0f} s  {found.whole_days} whole", flush=True)
            time.sleep(10)
        since = int(time.time() * 1000) - 2 * ROUND_MS
        [[found.fresh]] = connection.execute(FRESH.encode(), {"since": since}).fetchall()


def _calls(arrivals: Sequence[dict[str, Any]], found: Found) -> None:
    """The calls for prices, by feed and by round; the first round follows a start."""
    feeds, slots = Counter[str](), Counter[int]()
    for row in arrivals:
        path = str(row["path"]).partition("?")[0]
        feed = path if "/aggs/" not in path else "/v2/aggs"
        feeds[feed] += 1
        if feed != "/v2/aggs":
            slots[int(float(row["wall_s"]) * 1000) // ROUND_MS] += 1
    found.by_feed = dict(feeds)
    found.price_calls = [calls for _, calls in sorted(slots.items())]
    found.rounds = len(slots)


def _compare(database_url: str, assets: Sequence[Asset], listed: Path, found: Found) -> None:
    """Every value of the bars of the last completed day, of some series."""
    until = datetime.fromtimestamp(time.time() // (DAY_MS / 1000) * (DAY_MS / 1000), UTC)
    series = Series(load_instruments([listed]))
    with psycopg.connect(database_url) as connection:
        for asset in assets[:: max(1, len(assets) // COMPARED)]:
            compared = compare(connection, series, asset, until - timedelta(days=1), until)
            found.compared += compared.expected
            found.differ += compared.lacking + compared.surplus


def main() -> int:
    """Prints JSON; 1 if a promise was broken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--assets", type=int, default=2000)
    parser.add_argument("--rounds", type=int, default=4)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="assetq-bench-") as folder:
        found = prove(Path(folder), arguments.assets, arguments.rounds)
    print(json.dumps(asdict(found), indent=2))
    return int(bool(found.broken))


if __name__ == "__main__":
    sys.exit(main())
