"""data_sources.api_calls: one row per API call, the audit of the quota.

At 5 calls a minute these are 7,200 rows a day, some 2 MB; `CallLog.prune` bounds the table.
"""

from __future__ import annotations

from db.connection import Connection, unit_of_work
from db.queries import sql
from db.rows import CallAudit, storable_text

_INTEGER_MAX = 2**31 - 1


class CallLog:
    """Prunes the audit rows; `RefreshWriter` writes each with the data of its call."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def prune(self, keep_days: int = 30, *, limit: int = 20_000) -> int:
        """Delete up to `limit` rows older than `keep_days`; returns their number."""
        with unit_of_work(self._connection):
            return self._connection.execute(
                sql("delete_old_calls"), {"keep_days": keep_days, "limit": limit}
            ).rowcount


def insert_call(connection: Connection, provider: str, call: CallAudit) -> None:
    """Add the row inside the caller's transaction."""
    connection.execute(
        sql("insert_call"),
        {
            "call_id": call.call_id,
            "provider": provider,
            "endpoint": storable_text(call.endpoint),
            "feed": call.feed,
            "tickers": [storable_text(ticker) for ticker in call.tickers],
            "status": call.status,
            "outcome": storable_text(call.outcome),
            "started_at": call.started_at,
            "latency_ms": min(max(call.latency_ms, 0), _INTEGER_MAX),
            "error": storable_text(call.error),
        },
    )
