"""Bars into PostgreSQL: the write of one call beside the fastest that PostgreSQL offers.

    python -m bench.writes --rounds 5

Each batch is one transaction with its commit (fsync on). `assetq` is `RefreshWriter.write`, whole:
row lock, bars, coverage, sync status and audit row. `COPY + upsert` writes bars alone, by binary
COPY into a temporary table and INSERT .. ON CONFLICT from there; `COPY` goes into the table itself,
and could neither replace a bar nor look whether it is newer.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import LiteralString, NamedTuple

from bench.servers import database
from db.connection import connect
from db.coverage import Asked
from db.refresh import RefreshWriter
from db.rows import CallAudit, SymbolRefresh
from db.symbols import Asset, SymbolRepository

SIZES = (300, 50_000)
SYMBOL = "EURUSD"
STEP = timedelta(minutes=5)
TYPES = ("uuid", "timestamptz", *["numeric"] * 6, "int8", "text", "int8")
COLUMNS: LiteralString = (
    "symbol_id, ts, open, high, low, close, volume, vwap, trades, source, observed_at_ms"
)
STAMPS = itertools.count(1)


class Bar(NamedTuple):
    """What `RefreshWriter` asks of a bar."""

    start: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    vwap: Decimal | None
    trades: int | None


def bars_of(count: int) -> list[Bar]:
    """Bars in a row, up to now, with prices that move."""
    first = datetime(2026, 1, 1, tzinfo=UTC)
    found = []
    for number in range(count):
        price = Decimal("1.1") + Decimal(number % 997) / 100_000
        found.append(
            Bar(
                start=first + number * STEP, open=price, high=price + Decimal("0.0007"),
                low=price - Decimal("0.0006"), close=price + Decimal("0.0001"),
                volume=Decimal(number % 300), vwap=price, trades=number % 300,
            )
        )  # fmt: skip
    return found


class Site:
    """A database with one symbol and no bars."""

    def __init__(self, url: str) -> None:
        self.connection = connect(url)
        SymbolRepository(self.connection).upsert_many([Asset(SYMBOL, "C:EURUSD", "forex")])
        row = self.connection.execute("SELECT id FROM trading.symbols").fetchone()
        assert row is not None
        self.symbol_id = row[0]

    def empty(self) -> None:
        """No bar, and no garbage of former rounds."""
        for table in ("ohlcv_5m", "coverage_days"):
            self.connection.execute(f"TRUNCATE market_data.{table}".encode())

    def assetq(self, bars: Sequence[Bar]) -> None:
        """What a drain does with an answer."""
        number = next(STAMPS)
        now = datetime.now(UTC)
        call = CallAudit(f"c{number}", "/v2/aggs", "aggs", ("C:EURUSD",), 200, "ok", now, 20)
        asked = Asked(bars[0].start, bars[0].start + len(bars) * STEP)
        refresh = SymbolRefresh(SYMBOL, None, bars, True, asked=asked, source="aggs")
        observed_at_ms = int(now.timestamp() * 1000) + number
        written = RefreshWriter(self.connection).write(observed_at_ms, call, [refresh])
        assert written.bars_written == len(bars), written

    def copy_upsert(self, bars: Sequence[Bar]) -> None:
        """The same bars by a temporary table."""
        with self.connection.transaction():
            self.connection.execute(
                "CREATE TEMP TABLE incoming (LIKE market_data.ohlcv_5m) ON COMMIT DROP"
            )
            self._copy(b"incoming", bars)
            self.connection.execute(
                f"INSERT INTO market_data.ohlcv_5m AS bar ({COLUMNS}) SELECT {COLUMNS} "
                "FROM incoming ON CONFLICT (symbol_id, ts) DO UPDATE SET open = excluded.open, "
                "high = excluded.high, low = excluded.low, close = excluded.close, "
                "volume = excluded.volume, vwap = excluded.vwap, trades = excluded.trades, "
                "source = excluded.source, observed_at_ms = excluded.observed_at_ms "
                "WHERE excluded.observed_at_ms > bar.observed_at_ms"
            )

    def copy(self, bars: Sequence[Bar]) -> None:
        """New rows only."""
        with self.connection.transaction():
            self._copy(b"market_data.ohlcv_5m", bars)

    def _copy(self, table: bytes, bars: Sequence[Bar]) -> None:
        observed_at_ms = next(STAMPS)
        command = b"COPY %s (%s) FROM STDIN (FORMAT BINARY)" % (table, COLUMNS.encode())
        with self.connection.cursor() as cursor, cursor.copy(command) as copy:
            copy.set_types(TYPES)
            for bar in bars:
                numbers = (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.vwap)
                copy.write_row(
                    (self.symbol_id, bar.start, *numbers, bar.trades, "aggs", observed_at_ms)
                )


def took(write: Callable[[Sequence[Bar]], None], bars: Sequence[Bar]) -> float:
    """Seconds of one batch."""
    start = time.perf_counter()
    write(bars)
    return time.perf_counter() - start


def rows(site: Site, rounds: int) -> None:
    """Prints a line for each size and state; the writes take turns."""
    for size in SIZES:
        bars = bars_of(size)
        found: dict[str, list[float]] = {}
        for _ in range(rounds if size > 1000 else rounds * 20):
            for write in (site.assetq, site.copy_upsert, site.copy):
                site.empty()
                found.setdefault(write.__name__, []).append(took(write, bars))
                if write != site.copy:
                    found.setdefault(f"{write.__name__} again", []).append(took(write, bars))
        ms = {name: statistics.median(values) * 1000 for name, values in found.items()}
        for state in ("", " again"):
            ours, upsert = ms["assetq" + state], ms["copy_upsert" + state]
            cells = [f"{ours:,.1f} ms", f"{upsert:,.1f} ms", "–", f"{upsert / ours:.2f}", "–"]
            if not state:
                cells[2], cells[4] = f"{ms['copy']:,.1f} ms", f"{ours / ms['copy']:.1f}"
            name = f"{size:,}{', the same again' if state else ', new'}"
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


def main() -> None:
    """Prints a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print(
        "| bars in a batch | assetq | COPY + upsert | COPY | speed, in COPY + upsert's "
        "| time, in COPY's |\n|---|---|---|---|---|---|"
    )
    with database() as url:
        rows(Site(url), arguments.rounds)


if __name__ == "__main__":
    main()
