"""data_sources.api_calls: one row per API call, as an audit of the quota.

At 5 calls a minute that is 7,200 rows a day, some 2 MB; `CallLog.prune` keeps it bounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg.rows import class_row

from db.connection import Connection, translated_errors, unit_of_work
from db.queries import sql
from db.rows import CallAudit, storable_text

_INTEGER_MAX = 2**31 - 1


@dataclass(frozen=True)
class StoredCall:
    """A row of data_sources.api_calls."""

    call_id: str
    provider: str
    endpoint: str
    feed: str
    tickers: list[str]
    status: int | None
    outcome: str
    started_at: datetime
    latency_ms: int
    error: str | None


class CallLog:
    """Reads and prunes the audit rows; `RefreshWriter` writes them with the data they brought."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def recent(self, limit: int = 100) -> tuple[StoredCall, ...]:
        """Newest first."""
        with (
            translated_errors(self._connection),
            self._connection.cursor(row_factory=class_row(StoredCall)) as cursor,
        ):
            return tuple(cursor.execute(sql("recent_calls"), {"limit": limit}))

    def prune(self, keep_days: int = 30, *, limit: int = 20_000) -> int:
        """Deletes up to `limit` rows older than `keep_days`; returns how many."""
        with unit_of_work(self._connection):
            return self._connection.execute(
                sql("delete_old_calls"), {"keep_days": keep_days, "limit": limit}
            ).rowcount


def insert_call(connection: Connection, provider: str, call: CallAudit) -> None:
    """Adds the row inside the caller's transaction."""
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
