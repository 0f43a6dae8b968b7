"""Whether existing tables fit, checked before a migration touches anything.

Users bring their own trading.symbols and sometimes the others. Migrations add missing columns; what
adding cannot repair is reported here, with the remedy. Rules that refuse single rows are no
obstacle: `db.warnings` tells them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from db.connection import Connection
from db.keys import deferrable_keys
from db.queries import sql

_TEXT = ("text", "character varying", "character", "citext")
_LABEL = (*_TEXT, "enum")
_NUMBER = ("numeric", "double precision")
_INTEGER = ("bigint", "integer", "smallint")
_BIG = ("bigint", "numeric")
_INSTANT = ("timestamp with time zone", "timestamp without time zone")
_ID = ("uuid", "bigint", "integer", "smallint", *_TEXT)

_BARS: Mapping[str, Sequence[str]] = {
    "symbol_id": _ID,
    "ts": _INSTANT,
    "open": _NUMBER,
    "high": _NUMBER,
    "low": _NUMBER,
    "close": _NUMBER,
    "volume": _NUMBER,
    "vwap": _NUMBER,
    "trades": _INTEGER,
    "source": _TEXT,
    "observed_at_ms": _BIG,
}

# Column → types that can be read and written as they are. The first one is what assetq makes.
_COLUMNS: Mapping[str, Mapping[str, Sequence[str]]] = {
    "trading.symbols": {
        "id": _ID,
        "symbol": _TEXT,
        "polygon_ticker": _TEXT,
        "asset_type": _LABEL,
        "name": _TEXT,
        "priority": (*_INTEGER, "numeric"),
        "update_frequency_seconds": (*_INTEGER, "numeric"),
        "is_active": ("boolean",),
        "metadata": ("jsonb",),
        "updated_at": _INSTANT,
    },
    "market_data.ohlcv_5m": _BARS,
    "market_data.ohlcv_1d": _BARS,
    "data_sources.api_providers": {
        "id": _ID,
        "code": _TEXT,
        "name": _TEXT,
        "last_active_at": _INSTANT,
    },
    "data_sources.data_sync_status": {
        "ticker_id": _ID,
        "provider_id": _ID,
        "last_sync_timestamp": _INSTANT,
        "sync_status": _TEXT,
        "error": _TEXT,
        "observed_at_ms": _BIG,
        "updated_at": _INSTANT,
    },
    "data_sources.api_calls": {
        "call_id": _TEXT,
        "provider": _TEXT,
        "endpoint": _TEXT,
        "feed": _TEXT,
        "tickers": ("text[]", "character varying[]"),
        "status": _INTEGER,
        "outcome": _TEXT,
        "started_at": _INSTANT,
        "latency_ms": _INTEGER,
        "error": _TEXT,
    },
}

# Columns that assetq cannot add: only the user's program knows their values.
_INDISPENSABLE: Mapping[str, Sequence[str]] = {
    "trading.symbols": ("id", "symbol"),
    "data_sources.api_providers": ("id", "code"),
    "data_sources.data_sync_status": ("ticker_id", "provider_id"),
    "data_sources.api_calls": ("call_id",),
}

# Written as NULL at times: a symbol that never succeeded, a call that got no answer.
_NULLABLE: Mapping[str, Sequence[str]] = {
    "market_data.ohlcv_5m": ("vwap", "trades"),
    "market_data.ohlcv_1d": ("vwap", "trades"),
    "data_sources.data_sync_status": ("last_sync_timestamp", "error"),
    "data_sources.api_calls": ("status", "error"),
}

# Keys that must have the type of the id they repeat: column → relation whose id it is.
_REFERENCES: Mapping[tuple[str, str], str] = {
    ("market_data.ohlcv_5m", "symbol_id"): "trading.symbols",
    ("market_data.ohlcv_1d", "symbol_id"): "trading.symbols",
    ("data_sources.data_sync_status", "ticker_id"): "trading.symbols",
    ("data_sources.data_sync_status", "provider_id"): "data_sources.api_providers",
}


@dataclass(frozen=True)
class _Column:
    name: str
    type: str
    required: bool
    filled_by_itself: bool
    generated: bool


_Tables = Mapping[str, Mapping[str, _Column]]


def problems(connection: Connection) -> list[str]:
    """One sentence per obstacle, each with its remedy; empty when the migrations can run."""
    if encoding := encoding_problem(connection):
        return [encoding]
    rows = connection.execute(sql("existing_columns"), {"relations": list(_COLUMNS)}).fetchall()
    kinds = {relation: kind for relation, kind, *_ in rows}
    views = [
        f"{relation} is not a table (a view or foreign table); rename it"
        for relation, kind in kinds.items()
        if kind not in "rp"
    ]
    if views:
        return views
    tables: _Tables = {
        relation: {row[2]: _Column(*row[2:]) for row in group if row[2] is not None}
        for relation, group in groupby(rows, key=lambda row: str(row[0]))
    }
    found = [
        *(text for relation, columns in tables.items() for text in _shape(relation, columns)),
        *_references(tables),
        *deferrable_keys(connection),
    ]
    return found or [*_duplicates(connection, tables), *_provider(connection, tables)]


def encoding_problem(connection: Connection) -> str | None:
    """The reason why this database cannot hold every text; None: it can."""
    encoding = connection.info.parameter_status("server_encoding") or "unknown"
    if encoding == "UTF8":
        return None
    return (
        f"the database's encoding is {encoding}, and assetq needs UTF8; create a database with "
        "ENCODING 'UTF8' TEMPLATE template0 and restore a dump of this one into it"
    )


def _shape(relation: str, columns: Mapping[str, _Column]) -> list[str]:
    """Missing, ill-typed or over-strict columns of one table."""
    found = [
        f"{relation} has no column {name!r}; add it, or rename this table so that assetq makes "
        "its own"
        for name in _INDISPENSABLE.get(relation, ())
        if name not in columns
    ]
    for name, types in _COLUMNS[relation].items():
        column = columns.get(name)
        if column and column.type not in types:
            found.append(
                f"{relation}.{name} is {column.type}, and assetq needs {types[0]}; change its "
                "type, or rename it"
            )
        elif column and column.generated:
            found.append(
                f"{relation}.{name} is a generated column, and assetq writes it; make it a plain "
                "one, or rename it"
            )
    key = columns.get("id")
    if key and not (key.required or key.filled_by_itself):
        found.append(
            f"{relation}.id stays NULL in new rows; give it a default, or make it NOT NULL"
        )
    for name in _NULLABLE.get(relation, ()):
        column = columns.get(name)
        if column and column.required:
            found.append(f"{relation}.{name} is NOT NULL, and must accept NULL")
    if relation not in ("trading.symbols", "data_sources.api_providers"):
        found += _unfilled(relation, columns)
    return found


def _unfilled(relation: str, columns: Mapping[str, _Column]) -> list[str]:
    names = [
        name
        for name, column in columns.items()
        if column.required and not column.filled_by_itself and name not in _COLUMNS[relation]
    ]
    if not names:
        return []
    return [
        f"{relation} requires {', '.join(names)}, which assetq does not fill; give a default, or "
        "rename this table so that assetq makes its own"
    ]


def _references(tables: _Tables) -> list[str]:
    found = []
    for (relation, name), other in _REFERENCES.items():
        column = tables.get(relation, {}).get(name)
        key = tables.get(other, {}).get("id")
        if column and not key:
            found.append(f"{relation} exists without {other}, whose ids it holds; create that too")
        elif column and key and column.type != key.type:
            found.append(
                f"{relation}.{name} is {column.type}, but {other}.id is {key.type}; make them equal"
            )
    return found


def _duplicates(connection: Connection, tables: _Tables) -> list[str]:
    if "trading.symbols" not in tables:
        return []
    names = [row[0] for row in connection.execute(sql("duplicate_symbols"))]
    if not names:
        return []
    return [
        f"trading.symbols holds {', '.join(map(str, names))} more than once; keep one row of each"
    ]


def _provider(connection: Connection, tables: _Tables) -> list[str]:
    providers = tables.get("data_sources.api_providers")
    if not providers:
        return []
    row = connection.execute(sql("provider_exists")).fetchone()
    if row and row[0]:
        return []
    strict = _unfilled("data_sources.api_providers", providers)
    key = providers["id"]
    if key.required and not key.filled_by_itself:
        strict.append("data_sources.api_providers.id has no default")
    return [f"{text} (or insert a row with code 'polygon')" for text in strict]
