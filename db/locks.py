"""Who holds locks that keep a worker from writing."""

from __future__ import annotations

import time
from dataclasses import dataclass

from db.connection import Connection, unit_of_work
from db.queries import sql

LONG_S = 1.0
"""A transaction of assetq ends within milliseconds."""
_RELATIONS = [
    "trading.symbols",
    "market_data.ohlcv_5m",
    "market_data.ohlcv_1d",
    "market_data.coverage_days",
    "data_sources.api_providers",
    "data_sources.data_sync_status",
    "data_sources.api_calls",
]


@dataclass(frozen=True)
class LockHolder:
    """A session whose transaction holds locks on `relations`."""

    pid: int
    transaction: str
    user: str | None
    program: str | None
    relations: tuple[str, ...]


def lasting_locks(connection: Connection) -> list[LockHolder]:
    """Transactions of other sessions that hold locks on tables of assetq for over LONG_S; takes
    that long only if there is one. Raises DatabaseError."""
    first = _holders(connection)
    if not first:
        return []
    time.sleep(LONG_S)
    known = {(holder.pid, holder.transaction) for holder in first}
    return [h for h in _holders(connection) if (h.pid, h.transaction) in known]


def _holders(connection: Connection) -> list[LockHolder]:
    with unit_of_work(connection):
        rows = connection.execute(sql("lock_holders"), {"relations": _RELATIONS}).fetchall()
    return [
        LockHolder(pid, transaction, user, program, tuple(relations))
        for pid, transaction, user, program, relations in rows
    ]
