"""Connections to PostgreSQL, units of work on them, and errors that say what to do.

Connections are in autocommit mode: a read leaves no transaction open (a drain waits up to a
minute for quota between two statements), and everything that writes opens `unit_of_work`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus

from db.errors import (
    BadDatabaseUrl,
    DatabaseBusy,
    DatabaseError,
    DatabaseUnavailable,
    MigrationMissing,
    PermissionMissing,
)
from db.queries import sql

# A worker that is stopped (SIGSTOP, swapped out) inside a transaction must not hold row locks on.
IDLE_IN_TRANSACTION_TIMEOUT_S = 30.0

_KEEPALIVES = {
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}

# What libpq and the server say (in English, or the general remedy is shown) → what to do.
_REMEDIES = (
    (r"password authentication failed", "Check user and password in DATABASE_URL or DB_*."),
    (r"no password supplied", "Put the password into DATABASE_URL or DB_PASSWORD."),
    (r'role ".*" does not exist', "Create this role, or correct the user in DATABASE_URL or DB_*."),
    (r'database ".*" does not exist', "Create it, or correct the name in DATABASE_URL or DB_NAME."),
    (r"pg_hba\.conf", "Allow this user and host in pg_hba.conf, or try sslmode=require."),
    (r"support ssl|certificate|sslmode", "Correct sslmode in DATABASE_URL."),
    (r"refused", "Start PostgreSQL, or correct host and port in DATABASE_URL or DB_*."),
    (r"timeout|timed out", "Check that the host is reachable and no firewall drops the port."),
    (r"host name|resolve", "Correct the host in DATABASE_URL or DB_HOST."),
    (r"too many clients|connection slots", "Raise max_connections, or start fewer workers."),
    (r"starting up|shutting down|recovery", "Wait until it has started."),
)
_GENERAL_REMEDY = "Check DATABASE_URL or DB_*, and the server's log."


@dataclass(frozen=True)
class Target:
    """Where a URL leads, without the password."""

    host: str
    port: str
    dbname: str
    user: str


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A psycopg connection that knows where it leads, so that a lost one can be named."""

    target = Target("(unknown)", "-", "-", "-")
    patience_s: float | None = None

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """psycopg's: every statement passes here. A server that is frozen, or a network that
        swallows everything, must not hold us for longer than `patience_s`."""
        try:
            return super().wait(gen, interval, timeout or self.patience_s)
        except psycopg.OperationalError:
            if self.patience_s and self.pgconn.transaction_status is TransactionStatus.ACTIVE:
                self.close()  # it still waits for its answer, which nobody will read
            raise


def connect(
    url: str,
    *,
    statement_timeout_s: float = 15.0,
    lock_timeout_s: float = 5.0,
    connect_timeout_s: int = 5,
    patience_s: float | None = None,
    application_name: str = "assetq",
) -> Connection:
    """One connection in autocommit mode, session time zone UTC.

    Takes postgres:// and postgresql:// URLs with any libpq option (sslmode, …); options in the
    URL win over the defaults here. Raises BadDatabaseUrl, DatabaseUnavailable. Open it after a
    fork, never before. A timeout of 0 means none. `patience_s` bounds each statement on this
    side too, where the server itself may be frozen; the connection is closed then.
    """
    given, place = _parse(url), target(url)
    options: dict[str, Any] = {
        "connect_timeout": connect_timeout_s,
        "application_name": application_name,
        **_KEEPALIVES,
        **given,
    }
    try:
        # No server-side prepared statements: they break behind a transaction pooler.
        connection = Connection.connect(
            make_conninfo(**options), autocommit=True, prepare_threshold=None
        )
    except psycopg.Error as error:
        # `from None`: the driver's own error keeps a reference to the connection's parameters.
        raise _unavailable(_first(error), place) from None
    connection.target, connection.patience_s = place, patience_s
    try:
        with translated_errors(connection):
            connection.execute(
                sql("session_settings"),
                {
                    "statement_timeout": _ms(statement_timeout_s),
                    "lock_timeout": _ms(lock_timeout_s),
                    "idle_timeout": _ms(IDLE_IN_TRANSACTION_TIMEOUT_S),
                },
            )
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def unit_of_work(connection: Connection) -> Iterator[None]:
    """One transaction: committed at the end of the block, rolled back on an error.

    A signal (a job timeout) may strike at any line, also while the server commits. Then nobody
    knows the state of the connection, so it is closed: the server finishes or undoes the
    transaction as a whole, and the work is done again on a new connection.
    """
    try:
        with translated_errors(connection), connection.transaction():
            yield
    except DatabaseError:
        if connection.info.transaction_status is not TransactionStatus.IDLE:
            connection.close()
        raise
    except BaseException:
        connection.close()
        raise


@contextmanager
def translated_errors(connection: Connection) -> Iterator[None]:
    """psycopg's errors become ours; the text keeps the server's first line and never a value."""
    try:
        yield
    except (errors.UndefinedTable, errors.UndefinedColumn, errors.InvalidSchemaName) as error:
        raise MigrationMissing(f"The database is not prepared for assetq: {_first(error)}.") from (
            error
        )
    except errors.InsufficientPrivilege as error:
        raise PermissionMissing(
            f"The database user may not do this: {_first(error)}.",
            remedy="Grant it (db/sql/grants.sql), or use the owner of the tables to migrate.",
        ) from error
    except (
        errors.DeadlockDetected,
        errors.LockNotAvailable,
        errors.QueryCanceled,
        errors.SerializationFailure,
    ) as error:
        raise DatabaseBusy(f"PostgreSQL gave up waiting: {_first(error)}.") from error
    except (
        errors.OperationalError,
        errors.InterfaceError,
        errors.IdleInTransactionSessionTimeout,  # we were stopped for too long
        errors.ReadOnlySqlTransaction,  # a failover left us on a replica
    ) as error:
        raise _unavailable(_first(error), connection.target) from error
    except psycopg.Error as error:
        raise DatabaseError(f"PostgreSQL refused: {_first(error)} ({error.sqlstate}).") from error


def target(url: str) -> Target:
    """What may be shown of a URL. Raises BadDatabaseUrl."""
    given = _parse(url)
    return Target(
        host=given.get("host") or given.get("hostaddr") or "local socket",
        port=given.get("port") or "5432",
        dbname=given.get("dbname") or given.get("user") or "(default)",
        user=given.get("user") or "(default)",
    )


def ping(connection: Connection) -> None:
    """Returns if the server answers. Raises DatabaseUnavailable."""
    with translated_errors(connection):
        connection.execute("SELECT 1")


def server_version(connection: Connection) -> str:
    """For example "18.6"."""
    number = connection.info.server_version
    return f"{number // 10_000}.{number % 10_000}"


def _parse(url: str) -> dict[str, str]:
    plain = re.sub(r"^(postgres(?:ql)?)\+\w+://", r"\1://", url.strip())
    if not re.match(r"^postgres(ql)?://", plain):
        raise BadDatabaseUrl(remedy="It begins with postgresql:// or postgres://.")
    try:
        given = {key: str(value) for key, value in conninfo_to_dict(plain).items()}
    except psycopg.Error:
        given = {}  # the driver's text may quote a piece of the password: not shown, not chained
    authority, _, path = plain.partition("://")[2].partition("/")
    # libpq reads an unescaped @ or / of a password as the end of it; the rest would then turn up
    # in its errors as a host, port or database.
    torn = authority.count("@") > 1 or "@" in path.partition("?")[0]
    if not given or torn or not re.fullmatch(r"[\d,]*", given.get("port", "")):
        raise BadDatabaseUrl(
            "DATABASE_URL cannot be read.",
            remedy="Write it as postgresql://USER:PASSWORD@HOST:PORT/NAME, with @ : / ? # % in the "
            "password percent-encoded (@ is %40), and only options that libpq knows.",
        )
    return given


def _unavailable(reason: str, place: Target) -> DatabaseUnavailable:
    known = (text for mark, text in _REMEDIES if re.search(mark, reason, re.IGNORECASE))
    return DatabaseUnavailable(
        reason,
        host=place.host,
        port=place.port,
        dbname=place.dbname,
        user=place.user,
        remedy=next(known, _GENERAL_REMEDY),
    )


def _first(error: psycopg.Error) -> str:
    """The line that tells the cause: of several addresses tried, libpq puts each on its own."""
    if error.diag.message_primary:
        return error.diag.message_primary.strip()
    lines = [line.strip(" \t-") for line in str(error).splitlines() if line.strip()]
    text = next((line for line in lines if "FATAL" in line), lines[0] if lines else "no answer")
    text = re.sub(r"^.*?FATAL:\s*", "", text)
    return text.removeprefix("connection failed: ").rstrip(".")


def _ms(seconds: float) -> str:
    return str(int(seconds * 1000))
