"""Connections to PostgreSQL, transactions on them, and errors that say what to do.

Connections are in autocommit mode: no transaction stays open while a drain waits up to a minute
for quota. Every statement but a ping runs in a `unit_of_work`, which sets time zone and limits for
its transaction only, so that a session behind a pooler is left as it was found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import TransactionStatus

from db.errors import BadDatabaseUrl, DatabaseError, DatabaseUnavailable
from db.queries import sql
from db.translation import Target, first_line, translated, unavailable

__all__ = [
    "Connection",
    "Limits",
    "Target",
    "connect",
    "living",
    "ping",
    "server_version",
    "target",
    "translated_errors",
    "unit_of_work",
]

_KEEPALIVES = {
    "keepalives": 1,
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


@dataclass(frozen=True)
class Limits:
    """Limits of a transaction in seconds; 0: none."""

    statement_s: float = 15.0
    lock_s: float = 5.0
    idle_s: float = 30.0
    """A worker that is stopped (SIGSTOP, swapped out) inside a transaction keeps no row locked."""


class Connection(psycopg.Connection[tuple[Any, ...]]):
    """A psycopg connection that knows its target, so that a lost one can be named."""

    target = Target("(unknown)", "-", "-", "-")
    limits = Limits()
    patience_s: float | None = None

    def wait(self, gen: Any, interval: float = 0.1, timeout: float | None = None) -> Any:
        """psycopg's, and every statement passes here: bounds it where the server is frozen or the
        network swallows everything."""
        try:
            return super().wait(gen, interval, timeout or self.patience_s)
        except psycopg.OperationalError:
            if self.patience_s and self.pgconn.transaction_status is TransactionStatus.ACTIVE:
                self.close()  # its answer is still to come, and nothing will read it
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
    """One connection in autocommit mode that speaks UTF-8.

    Takes postgres:// and postgresql:// URLs with any libpq option (sslmode, …); options in the
    URL win over the defaults here. The time limits hold in `unit_of_work`; 0 means none.
    `patience_s` bounds each statement on this side too, where the server itself may be frozen;
    the connection is closed then. Open it after a fork, never before.
    Raises BadDatabaseUrl, DatabaseUnavailable.
    """
    given, place = _parse(url), target(url)
    options: dict[str, Any] = {
        "connect_timeout": connect_timeout_s,
        "application_name": application_name,
        **_KEEPALIVES,
        **given,
        "client_encoding": "UTF8",  # whatever PGCLIENTENCODING or the server's default is
    }
    try:
        # No server-side prepared statements: they break behind a transaction pooler.
        connection = Connection.connect(
            make_conninfo(**options), autocommit=True, prepare_threshold=None
        )
    except psycopg.Error as error:
        # `from None`: the driver's own error keeps a reference to the connection's parameters.
        raise unavailable(first_line(error), place) from None
    connection.target, connection.patience_s = place, patience_s
    connection.limits = Limits(statement_timeout_s, lock_timeout_s)
    return connection


@contextmanager
def unit_of_work(connection: Connection, limits: Limits | None = None) -> Iterator[None]:
    """One transaction, read or write: committed at the end of the block, rolled back on an error.

    A signal (a job timeout) may strike at any line, also while the server commits. Then the state
    of the connection is unknown, so it is closed: the server finishes or undoes the transaction
    as a whole, and the work is done again on a new connection.
    """
    try:
        with translated_errors(connection), connection.transaction():
            limits = limits or connection.limits
            connection.execute(
                sql("transaction_settings"),
                {
                    "statement_timeout": _ms(limits.statement_s),
                    "lock_timeout": _ms(limits.lock_s),
                    "idle_timeout": _ms(limits.idle_s),
                },
            )
            yield
    except DatabaseError as error:
        idle = connection.info.transaction_status is TransactionStatus.IDLE
        if not idle or error.sqlstate == _READ_ONLY:
            connection.close()
        raise
    except BaseException:
        connection.close()
        raise


_READ_ONLY = "25006"  # a failover left this connection on a replica; a new one finds the primary


@contextmanager
def translated_errors(connection: Connection) -> Iterator[None]:
    """psycopg's errors become those of `db.errors`."""
    try:
        yield
    except psycopg.Error as error:
        raise translated(error, connection.target, lost=connection.closed) from error


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


def living(connection: Connection, reconnect: Callable[[], Connection]) -> Connection:
    """The connection if the server answers on it, else a new one.

    A server, pooler or firewall may cut an idle connection (idle_session_timeout): that is no
    outage. Raises DatabaseUnavailable if there is one.
    """
    try:
        ping(connection)
    except DatabaseUnavailable:
        connection.close()
        return reconnect()
    return connection


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


def _ms(seconds: float) -> str:
    return str(int(seconds * 1000))
