"""Everything that can go wrong with PostgreSQL, told apart by what it concerns.

| class | concerns | reaction |
|---|---|---|
| DatabaseUnavailable | the connection: lost, or never made | wait, connect again |
| WritesRefused | every write: read-only, disk full, missing rights | pause, tell the operator |
| RowRefused | one row: a CHECK, a trigger, a type, a lock | that row fails, others go on |
| DatabaseConflict | one transaction: deadlock, serialization | do it again |
| MigrationMissing, IncompatibleSchema, BadDatabaseUrl | the configuration | tell the operator |
| DatabaseError | anything else: a defect, or a server that differs | as WritesRefused |

Texts name a remedy where there is one, and never a password.
"""

from __future__ import annotations

from collections.abc import Sequence


class DatabaseError(Exception):
    """PostgreSQL refused a statement."""

    def __init__(
        self, message: str | None = None, *, remedy: str | None = None, sqlstate: str | None = None
    ) -> None:
        self.message = message or (self.__doc__ or "").strip().splitlines()[0]
        self.remedy = remedy
        self.sqlstate = sqlstate
        super().__init__(f"{self.message} {remedy}" if remedy else self.message)


class BadDatabaseUrl(DatabaseError):
    """DATABASE_URL is not a PostgreSQL URL."""


class DatabaseUnavailable(DatabaseError):
    """PostgreSQL cannot be reached, refuses this login, or has cut the connection."""

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


class WritesRefused(DatabaseError):
    """PostgreSQL answers, and refuses every write; nothing was written."""


class PermissionMissing(WritesRefused):
    """The database user may not do this."""


class RowRefused(DatabaseError):
    """PostgreSQL refused one row; nothing was written, and other rows can be."""


class DatabaseBusy(RowRefused):
    """Another session holds the row; nothing was written, and trying again is safe."""


class DatabaseConflict(DatabaseBusy):
    """Another session's transaction cancelled this one; nothing was written, do it again."""


class MigrationMissing(DatabaseError):
    """The database lacks a table or column that assetq needs."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message, remedy="Run `assetq migrate`.")


class MigrationRunning(DatabaseError):
    """Another `assetq migrate` is at work on this database."""

    def __init__(self) -> None:
        super().__init__(
            remedy="Wait for it, or end its session (application_name 'assetq migrate')."
        )


class IncompatibleSchema(DatabaseError):
    """The existing tables do not fit, and assetq changes nothing that is not its own."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("The existing tables do not fit: " + "; ".join(self.problems) + ".")


class SymbolRejected(DatabaseError):
    """A rule of trading.symbols refused an imported row; nothing was imported."""
