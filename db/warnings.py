"""What the user's own tables may refuse or change, told before it happens.

Nothing here stops a migration: rows that a table refuses fail alone (`db.refresh`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import psycopg
from psycopg.sql import SQL, Identifier

from db.connection import Connection, unit_of_work
from db.queries import sql

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

_TIME = "2026-01-05T12:00:00+00:00"
_BAR = {"ts": _TIME, "vwap": None, "trades": 0, "source": "feed", "observed_at_ms": 1}
_CALL = {"call_id": "probe", "provider": "polygon", "endpoint": "feed", "feed": "feed"}

# Rows as assetq writes them, to evaluate CHECK constraints with.
_SAMPLES: Mapping[str, Sequence[Mapping[str, Any]]] = {
    "trading.symbols": (
        {"metadata": {"last_update": {"last_price": 1.1, "as_of": _TIME}}, "updated_at": _TIME},
    ),
    **{
        bars: (
            {**_BAR, "open": "0.00000812", "high": 1, "low": "0.000001", "close": 1, "volume": 0},
            {
                **_BAR,
                "open": 64000,
                "high": 70000,
                "low": 60000,
                "close": 1,
                "volume": "12000000000",
            },
        )
        for bars in _BARS
    },
    "data_sources.data_sync_status": (
        {
            "sync_status": "success",
            "error": None,
            "observed_at_ms": 1,
            "last_sync_timestamp": _TIME,
        },
        {"sync_status": "error", "error": "no data", "observed_at_ms": 1},
    ),
    "data_sources.api_calls": (
        {**_CALL, "status": 200, "outcome": "ok", "latency_ms": 0, "tickers": ["C:EURUSD"]},
        {**_CALL, "status": None, "outcome": "NotFound", "latency_ms": 60000, "error": "no data"},
    ),
}


def warnings(connection: Connection) -> list[str]:
    """One sentence per rule or type that will refuse or change what assetq writes, with a remedy
    after the semicolon. Reads only; tables that do not exist yet have none."""
    with unit_of_work(connection):
        parameters = {"relations": list(_RELATIONS), "views": list(VIEWS)}
        secured = connection.execute(sql("secured_tables"), parameters).fetchall()
        foreign = connection.execute(sql("foreign_views"), parameters).fetchall()
        return [
            *_narrow_columns(connection),
            *_constraints(connection),
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


def _constraints(connection: Connection) -> Iterator[str]:
    for relation, samples in _SAMPLES.items():
        checks = connection.execute(sql("check_constraints"), {"relation": relation}).fetchall()
        for name, expression, columns in checks:
            for sample in samples:
                if _refuses(connection, relation, expression, sample):
                    shown = ", ".join(f"{key} {sample[key]}" for key in columns if key in sample)
                    yield f"the constraint {name!r} of {relation} refuses {shown}; widen it"


def _refuses(
    connection: Connection, relation: str, expression: str, sample: Mapping[str, Any]
) -> bool:
    """Whether a CHECK, as the server prints it, is false for a row."""
    query = SQL("SELECT ({check}) FROM jsonb_populate_record(NULL::{relation}, %s::jsonb)").format(
        check=SQL(expression),
        relation=Identifier(*relation.split(".")),
    )
    try:
        with connection.transaction(force_rollback=True):
            row = connection.execute(query, (json.dumps(sample),)).fetchone()
    except (psycopg.DataError, psycopg.ProgrammingError, psycopg.InternalError):
        return False  # the sample does not fit the columns, which their types tell
    return row is not None and row[0] is False
