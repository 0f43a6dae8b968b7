"""How soon after its end each 5-minute bar is stored on a live plan, with real processes.

    python -m bench.follow                  # two bars of each asset: 11 minutes

Two workers and the scheduler from the Procfile against the sandbox (plan starter), the catalogue
that comes with assetq. Only bars that ended while it ran count, and of critical assets, whose bars
follow the clock; of all others it tells how many came. Exit code 1: a bar took longer than 90 s.
"""

import argparse
import json
import os
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from bench.servers import stand
from db.connection import Connection, connect
from settings.catalogue import read_assets
from tests.chaos.fleet import Fleet
from tests.kit.worker import CRITICAL

AT_MOST_S = 90.0
BAR = timedelta(minutes=5)
NEW = """
    SELECT symbol_id, ts FROM market_data.ohlcv_5m
    WHERE ts >= %(since)s AND symbol_id = ANY(%(ids)s)"""


def watch(
    connection: Connection, seconds: float
) -> tuple[dict[tuple[object, datetime], float], int]:
    """Seconds from its end until each new bar of a critical asset was seen, and the other bars."""
    rows = connection.execute("SELECT symbol, id FROM trading.symbols").fetchall()
    critical = [key for symbol, key in rows if symbol in {asset.symbol for asset in CRITICAL}]
    others = [key for _, key in rows if key not in critical]
    since, until = datetime.now(UTC) - BAR, time.monotonic() + seconds
    seen: dict[tuple[object, datetime], float] = {}
    while time.monotonic() < until:
        for key, begins in connection.execute(NEW, {"since": since, "ids": critical}):
            waited = datetime.now(UTC) - (begins + BAR)
            seen.setdefault((key, begins), waited.total_seconds())
        time.sleep(0.2)
    others_seen = connection.execute(NEW, {"since": since, "ids": others}).fetchall()
    return seen, len(others_seen)


def main() -> int:
    """Prints JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=660)
    seconds = parser.parse_args().seconds
    with (
        stand(read_assets(), "--plan starter", POLYGON_TIER="starter", HISTORY_DAYS="2") as there,
        connect(there.database_url) as connection,
    ):
        fleet = Fleet(there.env, 2, Path(os.devnull), seed=1)
        try:
            seen, others = watch(connection, seconds)
        finally:
            fleet.stop()
    slowest = max(seen.values(), default=None)
    print(json.dumps({"bars": len(seen), "slowest_s": slowest, "others": others}))
    return int(slowest is None or slowest > AT_MOST_S)


if __name__ == "__main__":
    sys.exit(main())
