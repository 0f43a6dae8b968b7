"""data_sources.api_calls: one row per API call, the audit of the quota.

At 5 calls a minute these are 7,200 rows a day, some 2 MB; `CallLog.prune` bounds the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg.rows import class_row

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


@dataclass(frozen=True)
class StoredCall:
    """One audit row as it is shown."""

    call_id: str
    feed: str
    tickers: Sequence[str]
    """The first five."""
    count: int
    """How many tickers it asked for."""
    status: int | None
    outcome: str
    started_at: datetime
    latency_ms: int
    error: str | None

    @property
    def ok(self) -> bool:
        """True if the answer was good."""
        return self.outcome == "ok"

    @property
    def names(self) -> str:
        """What it asked for, as people read it: the tickers without their market."""
        shown = ", ".join(ticker.partition(":")[2] or ticker for ticker in self.tickers)
        more = self.count - len(self.tickers)
        return f"{shown} and {more} more" if more > 0 else shown


def calls_by_id(connection: Connection, call_ids: Sequence[str]) -> dict[str, StoredCall]:
    """Return those of the calls that are in the audit, by id."""
    found = _stored(connection, "calls_by_id", {"call_ids": list(call_ids)})
    return {call.call_id: call for call in found}


def calls_of_ticker(
    connection: Connection, ticker: str, since: datetime, *, limit: int
) -> list[StoredCall]:
    """Return the newest calls that asked for a ticker, newest first."""
    parameters = {"ticker": ticker, "since": since, "limit": limit}
    return _stored(connection, "calls_of_ticker", parameters)


def answered_at(connection: Connection, ticker: str, since: datetime) -> list[datetime]:
    """When good calls asked for a ticker, oldest first. Reads all calls since then: at 5 a minute
    50,000 a week."""
    with unit_of_work(connection):
        rows = connection.execute(sql("answered_calls"), {"ticker": ticker, "since": since})
        return [at for (at,) in rows]


@dataclass(frozen=True)
class Refusal:
    """The calls that failed in one way."""

    outcome: str
    calls: int
    newest_at: datetime
    error: str | None
    """What the newest of them was told."""


def refusals(connection: Connection, since: datetime) -> list[Refusal]:
    """Return how calls failed since then, the most frequent first."""
    with (
        unit_of_work(connection),
        connection.cursor(row_factory=class_row(Refusal)) as cursor,
    ):
        return list(cursor.execute(sql("refused_calls"), {"since": since}))


def _stored(connection: Connection, name: str, parameters: dict[str, Any]) -> list[StoredCall]:
    with (
        unit_of_work(connection),
        connection.cursor(row_factory=class_row(StoredCall)) as cursor,
    ):
        return list(cursor.execute(sql(name), parameters))
