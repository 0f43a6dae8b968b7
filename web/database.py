"""Connections to PostgreSQL for pages: a few, kept for the next page, and never a long wait."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, LifoQueue

from db.connection import Connection, connect, living
from db.errors import DatabaseError
from health.database import DatabaseProblem, problem_of

MOST = 4
"""Pages must not be able to use up the connections of PostgreSQL."""
WAIT_S = 2.0
PATIENCE_S = 4.0
BUSY = DatabaseProblem("refused", "it is slow: other pages use all connections", "Try again.")


class Away(Exception):
    """A server cannot be read now; the text says why in a sentence, and names no host or user."""


def database_away(problem: DatabaseProblem) -> Away:
    """Tell that PostgreSQL cannot be read."""
    remedy = f" {problem.remedy}" if problem.remedy else ""
    return Away(f"PostgreSQL {problem.effect} ({problem.cause}).{remedy}")


class Database:
    """Lends connections for reading; its threads share it."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._free = threading.BoundedSemaphore(MOST)
        self._idle: LifoQueue[Connection] = LifoQueue()

    @contextmanager
    def connection(self, known: DatabaseProblem | None = None) -> Iterator[Connection]:
        """Lend a connection. Raises Away, at once where the `known` problem says so."""
        if known and known.kind in ("unreachable", "schema"):
            raise database_away(known)
        if not self._free.acquire(timeout=WAIT_S):
            raise database_away(BUSY)
        connection: Connection | None = None
        try:
            connection = self._take()
            yield connection
        except DatabaseError as error:
            raise database_away(problem_of(error)) from error
        finally:
            if connection is not None and not connection.closed:
                self._idle.put(connection)
            self._free.release()

    def _take(self) -> Connection:
        try:
            return living(self._idle.get_nowait(), self._connect)
        except Empty:
            return self._connect()

    def _connect(self) -> Connection:
        return connect(
            self._url,
            connect_timeout_s=2,
            statement_timeout_s=PATIENCE_S,
            lock_timeout_s=1,
            patience_s=PATIENCE_S,
            application_name="assetq web",
        )
