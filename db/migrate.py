"""Brings a database up to date: the numbered files of db/migrations, forward only.

All missing files are applied in one transaction, under an advisory lock of that transaction, with
their names in assetq.migrations: a crash leaves nothing behind, and any pooler will do.
"""

from __future__ import annotations

import structlog
from psycopg import errors

from db.compatibility import problems
from db.connection import Connection, Limits, connect, unit_of_work
from db.errors import DatabaseError, IncompatibleSchema, MigrationMissing, MigrationRunning
from db.queries import migration, migrations, sql
from db.translation import first_line
from db.warnings import VIEWS, warnings

log = structlog.get_logger(__name__)

_VIEWS_FILE = "0011-views"
MINIMUM_SERVER = 130_000  # gen_random_uuid() without an extension

# A statement may take long on a big table of the user's, but waits for locks only briefly:
# a waiting ALTER TABLE blocks every reader behind it.
_LIMITS = Limits(statement_s=600.0, lock_s=15.0, idle_s=0)


def migrate(url: str, *, wait_s: float = 60.0) -> list[str]:
    """Apply what is missing, views that were dropped included; returns the names in order.

    Safe to call again, and from several machines at once: one works, the others wait up to
    `wait_s`. Raises DatabaseUnavailable, PermissionMissing, MigrationRunning, DatabaseBusy (a
    table stayed locked), and IncompatibleSchema before anything is changed.
    """
    with (
        connect(url, application_name="assetq migrate") as connection,
        unit_of_work(connection, Limits(wait_s, wait_s, idle_s=0)),
    ):
        _lock(connection)
        with unit_of_work(connection, _LIMITS):
            missing = _pending(connection) or (lost_views(connection) and [_VIEWS_FILE])
            if missing:
                _check(connection)
                _apply(connection, missing)
        cautions = warnings(connection) if missing else []
    for name in missing:
        log.info("migrate.applied", migration=name)
    for caution in cautions:
        log.warning("migrate.caution", detail=caution)
    return missing


def pending(url: str) -> list[str]:
    """The migrations that this database lacks, in order; reads only."""
    with connect(url) as connection:
        return pending_on(connection)


def pending_on(connection: Connection) -> list[str]:
    """`pending` on an open connection."""
    with unit_of_work(connection):
        return _pending(connection)


def require_current_schema(connection: Connection) -> None:
    """Raise MigrationMissing, with the names, if the database lacks migrations."""
    missing = pending_on(connection)
    if missing:
        raise MigrationMissing(f"The database lacks the migrations {', '.join(missing)}.")


def _lock(connection: Connection) -> None:
    try:
        connection.execute(sql("migration_lock"))
    except (errors.LockNotAvailable, errors.QueryCanceled):
        raise MigrationRunning from None


def _pending(connection: Connection) -> list[str]:
    row = connection.execute(sql("migrations_exist")).fetchone()
    applied = set(connection.execute(sql("applied_migrations"))) if row and row[0] else set()
    return [name for name in migrations() if (name,) not in applied]


def lost_views(connection: Connection) -> list[str]:
    """The views that were dropped (to change a column's type, say)."""
    rows = connection.execute(sql("missing_views"), {"views": list(VIEWS)})
    return [view for (view,) in rows]


def _check(connection: Connection) -> None:
    if connection.info.server_version < MINIMUM_SERVER:
        raise IncompatibleSchema(["assetq needs PostgreSQL 13 or newer"])
    found = problems(connection)
    if found:
        raise IncompatibleSchema(found)


def _apply(connection: Connection, names: list[str]) -> None:
    connection.execute(sql("create_migrations"))
    for name in names:
        try:
            connection.execute(migration(name))
        except (errors.DataError, errors.IntegrityError, errors.ProgrammingError) as error:
            if isinstance(error, errors.InsufficientPrivilege):
                raise
            raise DatabaseError(
                f"Migration {name} was refused, and nothing was changed: {first_line(error)}.",
                sqlstate=error.sqlstate,
            ) from error
        connection.execute(sql("insert_migration"), {"name": name})
