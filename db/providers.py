"""data_sources.api_providers: the time at which a worker last called the provider."""

from __future__ import annotations

from datetime import datetime, timedelta

from db.connection import Connection, unit_of_work
from db.errors import MigrationMissing
from db.queries import sql


class ProviderRepository:
    """Tells a first start from a restart by `last_active_at`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def last_active_ago(self, code: str = "polygon") -> timedelta | None:
        """Time since last_active_at on the server's clock. None: no call was ever recorded."""
        with unit_of_work(self._connection):
            row = self._connection.execute(sql("last_active_ago"), {"code": code}).fetchone()
        if row is None:
            raise _absent(code)
        ago: timedelta | None = row[0]
        return ago

    def swap_last_active(self, code: str = "polygon") -> timedelta | None:
        """Set last_active_at to the server's clock; returns the time since the former value.

        None: no call was ever recorded. Atomic: of two concurrent callers, one sees the other.
        Negative after the server's clock stepped back; treat that as "just now".
        """
        with unit_of_work(self._connection):
            row = self._connection.execute(sql("lock_provider"), {"code": code}).fetchone()
            if row is None:
                raise _absent(code)
            former: datetime | None = row[0]
            [now] = self._connection.execute(sql("touch_provider"), {"code": code}).fetchall()
            return None if former is None else now[0] - former


def _absent(code: str) -> MigrationMissing:
    return MigrationMissing(f"data_sources.api_providers has no row with code {code!r}.")
