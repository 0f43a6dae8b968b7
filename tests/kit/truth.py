"""The bars that the sandbox has, against those of the table: every value, compared by SQL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import psycopg

from local.sandbox.series import SandboxBar, Series

BAR_MS = 300_000
_COLUMNS = "ts, open, high, low, close, volume, vwap, trades"
_TABLE = f"""
    CREATE TEMP TABLE IF NOT EXISTS truth AS
    SELECT {_COLUMNS} FROM market_data.ohlcv_5m WITH NO DATA"""
_COUNT = f"""
    WITH stored AS (
        SELECT {_COLUMNS} FROM market_data.ohlcv_5m
        WHERE symbol_id = (SELECT id FROM trading.symbols WHERE symbol = %s)
    )
    SELECT (SELECT count(*) FROM truth),
           (SELECT count(*) FROM (TABLE truth EXCEPT ALL TABLE stored) AS lacking),
           (SELECT count(*) FROM (TABLE stored EXCEPT ALL TABLE truth) AS surplus),
           (SELECT string_agg(ts::text, ', ' ORDER BY ts) FROM (
                (TABLE truth EXCEPT ALL TABLE stored) ORDER BY ts LIMIT 5) AS first)"""


@dataclass(frozen=True)
class Compared:
    """One series: the bars that it should have, and those that differ either way (a wrong value
    counts in both)."""

    symbol: str
    expected: int
    lacking: int
    surplus: int
    first: str | None
    """Starts of the first lacking ones."""

    @property
    def equal(self) -> bool:
        return not self.lacking and not self.surplus


def compare(
    connection: psycopg.Connection[tuple[object, ...]],
    series: Series,
    symbol: str,
    ticker: str,
    since_ms: int,
    until_ms: int,
) -> Compared:
    """All stored bars of a symbol against those that the sandbox has in [since, until)."""
    return compare_bars(
        connection, symbol, series.bars(ticker, since_ms, until_ms, BAR_MS, now_ms=until_ms)
    )


def compare_bars(
    connection: psycopg.Connection[tuple[object, ...]], symbol: str, bars: list[SandboxBar]
) -> Compared:
    """All stored bars of a symbol against these."""
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(_TABLE.encode())
        cursor.execute("TRUNCATE truth")
        with cursor.copy(f"COPY truth ({_COLUMNS}) FROM STDIN".encode()) as copy:
            for text in _rows(bars):
                copy.write(text)
        row = cursor.execute(_COUNT.encode(), (symbol,)).fetchone()
    assert row is not None
    return Compared(symbol, *row)  # type: ignore[arg-type]


def _rows(bars: list[SandboxBar]) -> Iterator[str]:
    """Lines of COPY; a float is written as JSON writes it, so that the decimals are the same."""
    for bar in bars:
        at = datetime.fromtimestamp(bar.start_ms / 1000, UTC).isoformat()
        values = (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.vwap)
        yield "\t".join((at, *map(repr, values), str(bar.ticks))) + "\n"
