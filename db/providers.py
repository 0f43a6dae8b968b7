"""data_sources.api_providers: when somebody last called the provider."""

from __future__ import annotations

from datetime import datetime, timedelta

from db.connection import Connection, translated_errors, unit_of_work
from db.errors import MigrationMissing
from db.queries import sql


class ProviderRepository:
    """`last_active_at` tells a first start from a restart: nobody called in the last window."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def last_active_ago(self, code: str = "polygon") -> timedelta | None:
        """Time since last_active_at on the server's clock. None: there was none."""
        with translated_errors(self._connection):
            row = self._connection.execute(sql("last_active_ago"), {"code": code}).fetchone()
        if row is None:
            raise _absent(code)
        ago: timedelta | None = row[0]
        return ago

    def swap_last_active(self, code: str = "polygon") -> timedelta | None:
        """Sets last_active_at to the server's clock and returns the time since the former one.

        None: there was none. Atomic: of two that call at once, one sees the other's. Negative
        after the server's clock stepped back; take that as "just now".
        """
        with unit_of_work(self._connection):
            row = self._connection.execute(sql("lock_provider"), {"code": code}).fetchone()
            if row is None:
                raise _absent(code)
            former: datetime | None = row[0]
            now = self._touch(code)
            return None if former is None else now - former

    def touch_last_active(self, code: str = "polygon") -> None:
        """Sets last_active_at to the server's clock."""
        with translated_errors(self._connection):
            self._touch(code)

    def _touch(self, code: str) -> datetime:
        row = self._connection.execute(sql("touch_provider"), {"code": code}).fetchone()
        if row is None:
            raise _absent(code)
        now: datetime = row[0]
        return now


def _absent(code: str) -> MigrationMissing:
    return MigrationMissing(f"data_sources.api_providers has no row with code {code!r}.")
