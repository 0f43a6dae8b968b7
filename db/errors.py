"""What can go wrong with PostgreSQL. Texts name a remedy where there is one, never a password."""

from __future__ import annotations

from collections.abc import Sequence


class DatabaseError(Exception):
    """PostgreSQL refused a statement."""

    def __init__(self, message: str | None = None, *, remedy: str | None = None) -> None:
        self.message = message or (self.__doc__ or "").strip().splitlines()[0]
        self.remedy = remedy
        super().__init__(f"{self.message} {remedy}" if remedy else self.message)


class BadDatabaseUrl(DatabaseError):
    """DATABASE_URL is not a PostgreSQL URL."""


class DatabaseUnavailable(DatabaseError):
    """PostgreSQL cannot be reached, or refuses this user."""

    def __init__(
        self,
        reason: str,
        *,
        host: str,
        port: str,
        dbname: str,
        user: str,
        remedy: str | None = None,
    ) -> None:
        self.reason = reason
        self.host = host
        self.port = port
        self.dbname = dbname
        self.user = user
        where = f"{host}:{port}, database {dbname}, user {user}"
        super().__init__(f"PostgreSQL at {where} is not available: {reason}.", remedy=remedy)


class DatabaseBusy(DatabaseError):
    """Another session held what this one needs; nothing was written, and trying again is safe."""


class MigrationMissing(DatabaseError):
    """The database lacks a table or column that assetq needs."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message, remedy="Run `assetq migrate`.")


class PermissionMissing(DatabaseError):
    """The database user may not do this."""


class IncompatibleSchema(DatabaseError):
    """Tables that exist already do not fit, and assetq changes nothing that is not its own."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("The existing tables do not fit: " + "; ".join(self.problems) + ".")


class SymbolRejected(DatabaseError):
    """A rule of trading.symbols itself refused an imported row; nothing was imported."""
