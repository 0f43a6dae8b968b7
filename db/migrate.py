"""Brings a database up to date: the numbered files of db/migrations, forward only.

yoyo reads the files and keeps the books, in a schema of our own (`assetq`). What it does not do
well is replaced here: its lock is a row that survives a SIGKILL, so an advisory lock of the
session takes its place; and it asks the system for a user name, which some containers lack.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog
from psycopg import errors
from yoyo import read_migrations
from yoyo.backends.core.postgresql import PostgresqlPsycopgBackend
from yoyo.migrations import MigrationList

from db.compatibility import problems
from db.connection import Connection, connect, target, translated_errors
from db.errors import DatabaseBusy, DatabaseError, IncompatibleSchema, MigrationMissing
from db.queries import sql

log = structlog.get_logger(__name__)

SCHEMA = "assetq"
TABLE = "_yoyo_migration"
MINIMUM_SERVER = 130_000  # gen_random_uuid() without an extension

# A statement may take long on a big table of the user's, but waits for locks only briefly:
# a waiting ALTER TABLE blocks every reader behind it.
_STATEMENT_TIMEOUT_S = 600.0
_LOCK_TIMEOUT_S = 15.0


def migrate(url: str, *, wait_s: float = 60.0) -> list[str]:
    """Applies what is missing and returns the ids, in order; empty when nothing was.

    Safe to call again, and from several machines at once: one works, the others wait up to
    `wait_s`. Each file is one transaction; a crash leaves whole files, and the next call goes on.
    Raises DatabaseUnavailable, PermissionMissing, DatabaseBusy, and IncompatibleSchema before
    anything is changed.
    """
    logging.getLogger("yoyo.migrations").setLevel(logging.WARNING)
    connection = connect(
        url,
        statement_timeout_s=wait_s,
        lock_timeout_s=wait_s,
        application_name="assetq migrate",
    )
    with connection, translated_errors(connection), _alone(connection):
        missing = _pending(connection)
        if not missing:
            return []
        _check(connection)
        if not _exists(connection, SCHEMA):
            connection.execute(sql("create_own_schema"))
        _apply(url)
        left = _pending(connection)
    if left:
        raise DatabaseError(f"Migrations could not be applied: {', '.join(left)}.")
    for migration_id in missing:
        log.info("migrate.applied", migration=migration_id)
    return missing


def pending(url: str) -> list[str]:
    """Ids of the migrations that this database lacks, in order; reads only."""
    with connect(url) as connection:
        return pending_on(connection)


def pending_on(connection: Connection) -> list[str]:
    """Like `pending`, on an open connection."""
    with translated_errors(connection):
        return _pending(connection)


def require_current_schema(connection: Connection) -> None:
    """Raises MigrationMissing, naming what is missing."""
    missing = pending_on(connection)
    if missing:
        raise MigrationMissing(f"The database lacks the migrations {', '.join(missing)}.")


def _pending(connection: Connection) -> list[str]:
    applied: set[str] = set()
    if _exists(connection, f"{SCHEMA}.{TABLE}"):
        applied = {row[0] for row in connection.execute(sql("applied_migrations"))}
    return [migration.id for migration in _migrations() if migration.id not in applied]


def _exists(connection: Connection, name: str) -> bool:
    row = connection.execute(
        sql("relation_exists" if "." in name else "schema_exists"), {"name": name}
    ).fetchone()
    return bool(row and row[0])


def _migrations() -> MigrationList:
    found: MigrationList = read_migrations("package:db:migrations")  # type: ignore[no-untyped-call]
    return found


def _check(connection: Connection) -> None:
    if connection.info.server_version < MINIMUM_SERVER:
        raise IncompatibleSchema(["assetq needs PostgreSQL 13 or newer"])
    found = problems(connection)
    if found:
        raise IncompatibleSchema(found)


@contextmanager
def _alone(connection: Connection) -> Iterator[None]:
    """The session's advisory lock; the server frees it when this process dies."""
    try:
        connection.execute(sql("migration_lock"))
    except (errors.LockNotAvailable, errors.QueryCanceled):
        raise DatabaseBusy(
            "Another `assetq migrate` is at work on this database.",
            remedy="Wait for it, or end its session (application_name 'assetq migrate').",
        ) from None
    yield  # closing the connection gives the lock back


def _apply(url: str) -> None:
    backend: Any = _Backend(_Place(url, target(url).dbname), TABLE)  # type: ignore[no-untyped-call]
    with backend:
        backend.apply_migrations(backend.to_apply(_migrations()))


@dataclass(frozen=True)
class _Place:
    """What yoyo's backend keeps as its URI."""

    url: str
    database: str

    def __repr__(self) -> str:
        return f"_Place({self.database!r})"


class _Backend(PostgresqlPsycopgBackend):
    """yoyo's backend for psycopg 3 on a connection of ours, without its lock table and probes."""

    def connect(self, place: _Place) -> Connection:
        self.schema = SCHEMA
        return connect(
            place.url,
            statement_timeout_s=_STATEMENT_TIMEOUT_S,
            lock_timeout_s=_LOCK_TIMEOUT_S,
            application_name="assetq migrate",
        )

    @contextmanager
    def lock(self, timeout: float = 0) -> Iterator[None]:
        yield  # `_alone` holds the advisory lock

    def get_log_data(self, migration: Any = None, operation: str = "apply") -> dict[str, Any]:
        return {
            "id": str(uuid.uuid4()),
            "migration_id": migration.id if migration else None,
            "migration_hash": migration.hash if migration else None,
            "username": "",
            "hostname": "",
            "created_at_utc": datetime.now(UTC).replace(tzinfo=None),
            "operation": operation,
        }
