"""The unique keys by which rows are found again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from db.connection import Connection
from db.queries import sql

_KEYS: Mapping[str, Sequence[str]] = {
    "trading.symbols": ("symbol",),
    "market_data.ohlcv_5m": ("symbol_id", "ts"),
    "market_data.ohlcv_1d": ("symbol_id", "ts"),
    "data_sources.api_providers": ("code",),
    "data_sources.data_sync_status": ("provider_id", "ticker_id"),
    "data_sources.api_calls": ("call_id",),
}
"""Table → the columns of its key, sorted."""


def deferrable_keys(connection: Connection) -> list[str]:
    """One sentence per key that ON CONFLICT refuses, also where another index has its columns."""
    rows = connection.execute(sql("deferrable_keys"), {"relations": list(_KEYS)})
    return [
        f"the constraint {name} of {relation} is DEFERRABLE, which ON CONFLICT refuses; make it "
        "NOT DEFERRABLE"
        for relation, name, columns in rows
        if tuple(columns) == _KEYS[relation]
    ]
