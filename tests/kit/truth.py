"""The bars that the sandbox has, against those of the table: every value, compared by SQL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg

from db.symbols import Asset
from local.sandbox.series import SandboxBar, Series
from settings.catalogue import read_assets

BAR_MS = 300_000
_COLUMNS = "ts, open, high, low, close, volume, vwap, trades"
_TABLE = f"""
    CREATE TEMP TABLE IF NOT EXISTS truth AS
    SELECT {_COLUMNS} FROM market_data.ohlcv_5m WITH NO DATA"""
_COUNT = f"""
    WITH stored AS (
        SELECT {_COLUMNS} FROM market_data.ohlcv_5m
        WHERE symbol_id = (SELECT id FROM trading.symbols WHERE symbol = %(symbol)s)
          AND ts < coalesce(%(until)s, 'infinity')
    ), lacking AS (TABLE truth EXCEPT ALL TABLE stored),
    surplus AS (TABLE stored EXCEPT ALL TABLE truth)
    SELECT (SELECT count(*) FROM truth), (SELECT count(*) FROM lacking),
           (SELECT count(*) FROM surplus), (SELECT min(ts) FROM lacking)"""


@dataclass(frozen=True)
class Compared:
    """One series: the bars that it should have, and those that differ either way (a wrong value
    counts in both)."""

    symbol: str
    expected: int
    lacking: int
    surplus: int
    first: datetime | None
    """Start of the first lacking one."""

    @property
    def equal(self) -> bool:
        return not self.lacking and not self.surplus


def compare(
    connection: psycopg.Connection[tuple[Any, ...]],
    series: Series,
    asset: Asset,
    since: datetime,
    until: datetime,
) -> Compared:
    """The stored bars before `until` against those that the sandbox has in [since, until)."""
    since_ms, until_ms = (round(at.timestamp() * 1000) for at in (since, until))
    bars = series.bars(asset.polygon_ticker, since_ms, until_ms, BAR_MS)
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL work_mem = '256MB'")
        cursor.execute(_TABLE.encode())
        cursor.execute("TRUNCATE truth")
        with cursor.copy(f"COPY truth ({_COLUMNS}) FROM STDIN".encode()) as copy:
            copy.write("".join(_rows(bars)))
        row = cursor.execute(_COUNT.encode(), {"symbol": asset.symbol, "until": until}).fetchone()
    assert row is not None
    return Compared(asset.symbol, *row)


def mixed_assets(count: int) -> list[Asset]:
    """The critical assets of the catalogue, then others and coins in turn."""
    assets = read_assets()
    critical = [a for a in assets if a.priority == 1]
    coins, others = (
        [a for a in assets if a.priority > 1 and (a.asset_type == "crypto") is wanted]
        for wanted in (True, False)
    )
    mixed = [a for pair in zip(others, coins, strict=False) for a in pair]
    return list(dict.fromkeys([*critical, *mixed, *others, *coins]))[:count]


def _rows(bars: list[SandboxBar]) -> Iterator[str]:
    """Lines of COPY; a float is written as JSON writes it, so that the decimals are the same."""
    for bar in bars:
        at = datetime.fromtimestamp(bar.start_ms / 1000, UTC).isoformat()
        values = (bar.open, bar.high, bar.low, bar.close, bar.volume, bar.vwap)
        yield "\t".join((at, *map(repr, values), str(bar.ticks))) + "\n"
