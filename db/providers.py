"""data_sources.api_providers: the time at which a worker last called the provider."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from db.connection import Connection, unit_of_work
from db.errors import MigrationMissing, RowRefused
from db.queries import sql

log = structlog.get_logger(__name__)

_LOCK_S = 1.0


class ProviderRepository:
    """Tells a first start from a restart by `last_active_at`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def last_active_ago(self, code: str = "polygon") -> timedelta | None:
        """Time since the last call on the server's clock. None: no call was ever recorded."""
        with unit_of_work(self._connection):
            row = self._connection.execute(sql("last_active_ago"), {"code": code}).fetchone()
        if row is None:
            raise _absent(code)
        ago: timedelta | None = row[0]
        return ago

    def swap_last_active(self, code: str = "polygon") -> timedelta | None:
        """Set last_active_at to the server's clock; returns the time since the former value.

        None: no call was ever recorded. Atomic: of two concurrent callers, one sees the other.
        Negative after the server's clock stepped back; treat that as "just now". A row that
        another session holds, or that a rule of the table refuses, counts as "just now" too: it
        proves nothing, and must not hold up the work.
        """
        try:
            return self.note_call(code)
        except RowRefused as error:
            log.warning("provider.refused", detail=error.message)
            return timedelta(0)

    def newest_call(self, within_s: float, code: str = "polygon") -> tuple[str, datetime] | None:
        """The audited call that was made last, and when; None: none was made within that time."""
        with unit_of_work(self._connection):
            row = self._connection.execute(
                sql("newest_call"), {"provider": code, "within_s": within_s}
            ).fetchone()
        return (row[0], row[1]) if row else None

    def note_call(self, code: str = "polygon") -> timedelta | None:
        """The same, for a caller who must know that it was stored. Raises DatabaseError."""
        limits = self._connection.limits
        limits = replace(limits, lock_s=min(limits.lock_s or _LOCK_S, _LOCK_S))
        with unit_of_work(self._connection, limits):
            row = self._connection.execute(sql("lock_provider"), {"code": code}).fetchone()
            if row is None:
                raise _absent(code)
            ago: timedelta | None = row[0]
            self._connection.execute(sql("touch_provider"), {"code": code})
            return ago


def _absent(code: str) -> MigrationMissing:
    return MigrationMissing(f"data_sources.api_providers has no row with code {code!r}.")
