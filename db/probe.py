"""Whether an answer could be stored, found out before an API call is spent on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

from db.bars import upsert_bars
from db.calls import insert_call
from db.connection import Connection, unit_of_work
from db.coverage import FULL_DAY, upsert_days
from db.errors import DatabaseError, DatabaseUnavailable, MigrationMissing, WritesRefused
from db.isolation import isolate
from db.prices import update_prices
from db.queries import sql
from db.refresh import PROVIDER
from db.rows import CallAudit
from db.status import upsert_status

_LOCK_S = 1.0


def can_store(connection: Connection, provider: str = PROVIDER) -> WritesRefused | None:
    """None, or the reason why no answer can be stored at present.

    Executes the writer's own statements with nothing to write, and inserts one audit row, all
    rolled back: read-only servers, missing rights, locked tables and most full disks show. Some
    13 round trips. Raises DatabaseUnavailable, MigrationMissing.
    """
    limits = connection.limits
    limits = replace(limits, lock_s=min(limits.lock_s or _LOCK_S, _LOCK_S))
    try:
        with unit_of_work(connection, limits), connection.transaction(force_rollback=True):
            connection.execute(sql("lock_symbols"), {"symbols": []})
            update_prices(connection, 0, [])
            for timeframe in FULL_DAY:
                upsert_bars(connection, 0, timeframe, [])
                upsert_days(connection, datetime.now(UTC), timeframe, [])
            upsert_status(connection, provider, 0, [])
            _try_call(connection, provider)
    except (DatabaseUnavailable, MigrationMissing):
        raise
    except WritesRefused as error:
        return error
    except DatabaseError as error:
        return WritesRefused(
            f"No answer can be stored: {error.message}",
            remedy=error.remedy or "End the session that holds the table, or look at the log.",
            sqlstate=error.sqlstate,
        )
    return None


def _try_call(connection: Connection, provider: str) -> None:
    """A row of the audit; one that the table's own rules refuse does not matter."""
    call = CallAudit("probe", "", "", (), None, "", datetime.now(UTC), 0)

    def insert(calls: Sequence[CallAudit]) -> None:
        insert_call(connection, provider, calls[0])

    isolate(connection, [call], insert)
