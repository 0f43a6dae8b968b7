"""What the user's own tables may refuse or change, told before it happens.

Nothing here stops a migration: rows that a table refuses fail alone (`db.refresh`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal

import psycopg

from db.connection import Connection, unit_of_work
from db.errors import DatabaseError, DatabaseUnavailable
from db.queries import sql
from db.refresh import PROVIDER
from db.rows import CallAudit, SymbolRefresh, WriteResult
from db.translation import translated
from db.writing import Write

_BARS = ("market_data.ohlcv_5m", "market_data.ohlcv_1d")
_RELATIONS = (
    "trading.symbols",
    *_BARS,
    "data_sources.api_providers",
    "data_sources.data_sync_status",
    "data_sources.api_calls",
)
_BAR_VIEWS = (
    "market_data.ohlcv_15m",
    "market_data.ohlcv_1h",
    "market_data.ohlcv_4h",
    "market_data.ohlcv_1d_utc",
)
VIEWS = ("market_data.coverage", *_BAR_VIEWS, "trading.latest_prices")
_TOO_NARROW = ("(22003).", "(22001).")  # told by column
_PRICES = ("open", "high", "low", "close", "vwap")

# SHIBUSD trades at 0.00000812, BTCIDR at 1,600,000,000; a day of SHIB has volumes of 10^13.
_PRICE_DECIMALS, _PRICE_DIGITS, _VOLUME_DIGITS = 8, 10, 14

_WIDEN = (
    f"make it numeric (drop the views {', '.join(_BAR_VIEWS)} before, and run `assetq migrate` "
    "after)"
)

_LENGTHS: Mapping[tuple[str, str], int] = {
    **{(bars, "source"): 20 for bars in _BARS},
    ("data_sources.data_sync_status", "sync_status"): 7,
    ("data_sources.data_sync_status", "error"): 500,
    ("data_sources.api_calls", "call_id"): 100,
    ("data_sources.api_calls", "endpoint"): 100,
    ("data_sources.api_calls", "feed"): 20,
    ("data_sources.api_calls", "outcome"): 40,
    ("data_sources.api_calls", "error"): 500,
}


@dataclass(frozen=True)
class _Price:
    as_of: datetime
    last: Decimal = Decimal("1.1")
    bid: Decimal | None = None
    ask: Decimal | None = None
    daily_open: Decimal | None = None
    daily_high: Decimal | None = None
    daily_low: Decimal | None = None
    daily_close: Decimal | None = None
    source: str = "feed"
    delay: str = "real_time"
    basis: str = "quote"


@dataclass(frozen=True)
class _Bar:
    """Of a coin that costs little and trades a lot."""

    start: datetime
    open: Decimal = Decimal("0.00000812")
    high: Decimal = Decimal("0.00000812")
    low: Decimal = Decimal("0.00000812")
    close: Decimal = Decimal("0.00000812")
    volume: Decimal = Decimal("12000000000")
    vwap: Decimal | None = None
    trades: int | None = None


def warnings(connection: Connection) -> list[str]:
    """One sentence per rule or type that will refuse or change what assetq writes, with a remedy
    after the semicolon.

    Types are read; rules of any kind are met by writing as a worker does, in a transaction that is
    rolled back. Tables that do not exist yet have none. Raises DatabaseError.
    """
    with unit_of_work(connection):
        parameters = {"relations": list(_RELATIONS), "views": list(VIEWS)}
        secured = connection.execute(sql("secured_tables"), parameters).fetchall()
        foreign = connection.execute(sql("foreign_views"), parameters).fetchall()
        return [
            *_narrow_columns(connection),
            *_refusals(connection),
            *(
                f"{name} has row-level security for this user: rows that it hides count as absent; "
                "give the user a policy for all rows, or BYPASSRLS"
                for (name,) in secured
            ),
            *(
                f"{name} is not assetq's view; rename it if you want that of assetq"
                for (name,) in foreign
            ),
        ]


def _narrow_columns(connection: Connection) -> Iterator[str]:
    rows = connection.execute(sql("column_limits"), {"relations": list(_RELATIONS)})
    for relation, name, kind, precision, scale, length in rows:
        column = f"{relation}.{name} is {kind}"
        if relation in _BARS and precision is not None:
            yield from _narrow_number(column, name, precision, scale)
        if length is not None and length < _LENGTHS.get((relation, name), 0):
            yield f"{column}: longer texts are refused; make it text"
        if kind == "timestamp without time zone":
            yield f"{column}: its times are UTC; timestamptz would say so"


def _narrow_number(column: str, name: str, precision: int, scale: int) -> Iterator[str]:
    digits = precision - scale
    if name in _PRICES and scale < _PRICE_DECIMALS:
        rounded = f"{0.00000812:.{max(scale, 0)}f}"
        yield f"{column}: a price of 0.00000812 is stored as {rounded}; {_WIDEN}"
    if name in _PRICES and digits < _PRICE_DIGITS:
        yield f"{column}: prices of 10^{digits} and more are refused; {_WIDEN}"
    if name == "volume" and digits < _VOLUME_DIGITS:
        yield f"{column}: volumes of 10^{digits} and more are refused; {_WIDEN}"


def _refusals(connection: Connection) -> Iterator[str]:
    """What the writer meets if it stores a price, bars and both outcomes of one symbol."""
    results: list[WriteResult] = []
    try:
        with connection.transaction(force_rollback=True):
            results += _try_writing(connection)
    except psycopg.Error as error:
        _ignore_what_others_tell(translated(error, connection.target, lost=connection.closed))
    except DatabaseError as error:
        _ignore_what_others_tell(error)
    notes = [
        note
        for result in results
        for note in (*result.notes, *(f"{s}: {why}" for s, why in result.refused.items()))
    ]
    for note in dict.fromkeys(notes):  # one rule may refuse both outcomes
        if not note.endswith(_TOO_NARROW):
            yield f"{note.rstrip('.')}; change that rule, or such rows will be left out"


def _ignore_what_others_tell(error: DatabaseError) -> None:
    """A schema that is not prepared, and a server or a role that takes no writes."""
    if isinstance(error, DatabaseUnavailable):
        raise error


def _try_writing(connection: Connection) -> Iterator[WriteResult]:
    """One answer that brings a price and bars of one symbol, and one that brings an error."""
    row = connection.execute(sql("any_symbol")).fetchone()
    if row is None:
        return
    symbol, now = row[0], datetime.now(UTC)
    bars = [_Bar(now.replace(minute=0, second=0, microsecond=0))]
    item = SymbolRefresh(symbol, _Price(now), bars, daily=bars)
    call = CallAudit("probe", "feed", "feed", ("X:PROBE",), 200, "ok", now, 100)
    observed_at_ms = int(now.timestamp() * 1000)
    yield Write(connection, PROVIDER, observed_at_ms, alone=True).run(call, {symbol: item}, {})
    failed = replace(call, call_id="probe 2", status=None, outcome="NotFound", error="no data")
    write = Write(connection, PROVIDER, observed_at_ms + 1, alone=True)
    yield write.run(failed, {}, {symbol: "no data"})
