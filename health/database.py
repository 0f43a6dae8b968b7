"""Whether PostgreSQL can store an answer, asked in a thread so that no request waits for long."""

import re
import threading
import time
from dataclasses import dataclass

from db.connection import connect, unit_of_work
from db.errors import DatabaseError, DatabaseUnavailable, MigrationMissing, PermissionMissing
from db.queries import sql

TIMEOUT_S = 2.0
FRESH_S = 1.0
"""Requests within this time share one look: those who may ask for health must not be able to use
up the connections of PostgreSQL."""
_PARTLY = {
    "locked": "lets writes wait",
    "encoding": "cannot store every text",
    "some-rights": "cannot be used for everything",
}
"""Kind of problem under which answers are stored → what does not work."""
_PLACE = re.compile(r"connection to server (at|on) .*? failed: ")


@dataclass(frozen=True)
class DatabaseProblem:
    """Why PostgreSQL cannot be used. No text names a host, a user or a password."""

    kind: str
    """unreachable, schema, read-only, rights or refused; locked, encoding or some-rights, where
    answers can be stored."""
    cause: str
    remedy: str | None

    @property
    def stops(self) -> bool:
        """True if no answer can be stored."""
        return self.kind not in _PARTLY

    @property
    def effect(self) -> str:
        """What PostgreSQL does not do, as a clause without its subject."""
        return _PARTLY.get(self.kind, "cannot be used")


class DatabaseProbe:
    """Looks at PostgreSQL, one look at a time, each on a connection and a thread of its own.

    A frozen server does not answer, and no time-out of the client covers every stage of a
    connection, so a look may hang. Requests wait for TIMEOUT_S at most, and no second look begins
    meanwhile.
    """

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._running = False
        self._problem: DatabaseProblem | None = None
        self._began_at = self._looked_at = float("-inf")

    def begin(self) -> None:
        """Start a look unless one runs or has just been made."""
        with self._lock:
            if self._running or time.monotonic() - self._looked_at < FRESH_S:
                return
            self._running = True
            self._began_at = time.monotonic()
            self._done.clear()
        threading.Thread(target=self._look, name="database-probe", daemon=True).start()

    def problem(self) -> DatabaseProblem | None:
        """Return why PostgreSQL cannot be used; None: it can. Call `begin` first."""
        left_s = self._began_at + self._timeout_s - time.monotonic()
        if not self._done.wait(max(0.0, left_s)):
            cause = f"no answer within {self._timeout_s:g} s"
            return DatabaseProblem("unreachable", cause, "Check its host, and its log.")
        return self._problem

    def _look(self) -> None:
        problem: DatabaseProblem | None = _FAILED
        try:
            problem = look(self._url)
        finally:
            with self._lock:
                self._problem, self._looked_at, self._running = problem, time.monotonic(), False
                self._done.set()


def look(url: str) -> DatabaseProblem | None:
    """Open a connection and read whether an answer could be stored."""
    try:
        with (
            connect(
                url, connect_timeout_s=2, statement_timeout_s=2, application_name="assetq health"
            ) as connection,
            unit_of_work(connection),
        ):
            found = connection.execute(sql("usable")).fetchone()
            problem = _refusal(*found) if found else _FAILED
            if problem and problem.kind == "rights":  # the next statement needs some of them
                return problem
            row = connection.execute(sql("provider_exists")).fetchone()
            return problem if row and row[0] else _NOT_MIGRATED
    except DatabaseError as error:
        return problem_of(error)


_FAILED = DatabaseProblem("refused", "the look at it failed", "`assetq doctor` tells more.")
_NOT_MIGRATED = DatabaseProblem("schema", "it is not migrated", "Run `assetq migrate`.")


def problem_of(error: DatabaseError) -> DatabaseProblem:
    """Return an error as words that may be shown to anybody."""
    if isinstance(error, DatabaseUnavailable):
        return DatabaseProblem("unreachable", _PLACE.sub("", error.reason), error.remedy)
    if isinstance(error, MigrationMissing):
        return _NOT_MIGRATED
    kind = "rights" if isinstance(error, PermissionMissing) else "refused"
    return DatabaseProblem(kind, error.message.rstrip("."), error.remedy)


def _refusal(
    read_only: bool, encoding: str, missing: list[str], others: list[str], locked: bool
) -> DatabaseProblem | None:
    if read_only:
        remedy = "Connect to the primary, or switch default_transaction_read_only off."
        return DatabaseProblem("read-only", "it is read-only", remedy)
    if missing or others:
        cause = f"the database user lacks {', '.join([*missing, *others])}"
        kind = "rights" if missing else "some-rights"
        return DatabaseProblem(kind, cause, "Grant it: db/sql/grants.sql.")
    if locked:
        cause = "another transaction holds a lock that they need"
        remedy = "End it: pg_blocking_pids() and pg_stat_activity name it."
        return DatabaseProblem("locked", cause, remedy)
    if encoding == "SQL_ASCII":
        remedy = "Create a database with encoding UTF8 and migrate that."
        return DatabaseProblem("encoding", f"its encoding is {encoding}", remedy)
    return None
