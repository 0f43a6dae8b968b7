"""Does PostgreSQL answer, and is it migrated? Asked beside the request, which never waits long."""

import re
import threading
import time

from db.connection import connect, unit_of_work
from db.errors import DatabaseError, DatabaseUnavailable
from db.queries import sql

TIMEOUT_S = 2.0
FRESH_S = 1.0
"""Many requests share one look: whoever may ask for health must not fill PostgreSQL's places."""


_PLACE = re.compile(r"connection to server (at|on) .*? failed: ")


class DatabaseProbe:
    """One look at a time, on a connection and a thread of its own.

    A server that is frozen answers nobody and no client's time-out fits every stage of a
    connection, so the look may hang; the requests wait for TIMEOUT_S at most and no second look
    begins meanwhile.
    """

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._done = threading.Event()
        self._running = False
        self._problem: str | None = None
        self._began_at = self._looked_at = float("-inf")

    def begin(self) -> None:
        """Starts a look unless one runs or was just made."""
        with self._lock:
            if self._running or time.monotonic() - self._looked_at < FRESH_S:
                return
            self._running = True
            self._began_at = time.monotonic()
            self._done.clear()
        threading.Thread(target=self._look, name="database-probe", daemon=True).start()

    def problem(self) -> str | None:
        """Why PostgreSQL cannot be used; None: it can. Call `begin` first."""
        left_s = self._began_at + self._timeout_s - time.monotonic()
        if not self._done.wait(max(0.0, left_s)):
            return f"no answer within {self._timeout_s:g} s"
        return self._problem

    def _look(self) -> None:
        problem: str | None = "the look at it failed"
        try:
            problem = look(self._url)
        finally:
            with self._lock:
                self._problem, self._looked_at, self._running = problem, time.monotonic(), False
                self._done.set()


def look(url: str) -> str | None:
    """One connection, one statement. Texts name no host or user: anybody may read them."""
    try:
        with (
            connect(
                url, connect_timeout_s=2, statement_timeout_s=2, application_name="assetq health"
            ) as connection,
            unit_of_work(connection),
        ):
            row = connection.execute(sql("provider_exists")).fetchone()
    except DatabaseUnavailable as error:
        reason = _PLACE.sub("", error.reason)
        return f"{reason}. {error.remedy or ''}".strip().rstrip(".")
    except DatabaseError as error:
        return str(error).rstrip(".")
    return None if row and row[0] else "it is not migrated. Run `assetq migrate`"
