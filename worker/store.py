"""PostgreSQL for one drain: an answer in hand waits for it a little, for it has cost a call."""

import time
from collections.abc import Callable, Sequence

import structlog

from db.connection import Connection, living, ping
from db.errors import DatabaseConflict, DatabaseUnavailable
from db.probe import can_store
from db.refresh import RefreshWriter
from db.rows import CallAudit, SymbolRefresh, WriteResult
from runtime.failpoints import Point, reached
from runtime.stopping import STOP, StopFlag

log = structlog.get_logger(__name__)

KEEP_S = 8.0
"""How long an answer waits for PostgreSQL (a restart, a failover) before its items return."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 2.0


class Store:
    """Writes refreshes, on a new connection where the old one is lost."""

    def __init__(
        self,
        connection: Connection,
        reconnect: Callable[[], Connection] | None = None,
        stop: StopFlag = STOP,
    ) -> None:
        """`reconnect` opens another connection, which the store closes."""
        self._first = connection
        self._reconnect = reconnect
        self._stop = stop
        self._proven = False
        self._use(connection)

    def _use(self, connection: Connection) -> None:
        self.connection = connection
        self._writer = RefreshWriter(connection, before_commit=lambda: reached(Point.COMMIT_BEFORE))

    def close(self) -> None:
        """Closes the connection that replaced the first one."""
        if self.connection is not self._first:
            self.connection.close()

    def ready(self) -> None:
        """Returns if an answer can be stored: asked before each claim, so that no call is wasted.

        The first time a write of every kind is tried and undone; afterwards a ping suffices, since
        a drain ends with the first refused write. A connection that was cut while it was idle is
        replaced. Raises DatabaseError.
        """
        if self._reconnect:
            alive = living(self.connection, self._reconnect)
            if alive is not self.connection:
                self._use(alive)
        else:
            ping(self.connection)
        if not self._proven:
            if refused := can_store(self.connection):
                raise refused
            self._proven = True

    def write(
        self,
        observed_at_ms: int,
        call: CallAudit | None,
        refreshed: Sequence[SymbolRefresh],
        failed: Sequence[tuple[str, str]] = (),
        *,
        keep: Callable[[], object],
    ) -> WriteResult:
        """RefreshWriter.write, tried again for KEEP_S while PostgreSQL is away.

        A second write of the same changes nothing more. `keep` is called before each further one
        (it prolongs the lease). A process that is to end tries once. Where the server cancels the
        transaction, each row has one of its own.
        """
        until_s, pause_s = time.monotonic() + KEEP_S, _FIRST_PAUSE_S
        while True:
            try:
                return self._write(observed_at_ms, call, refreshed, failed)
            except DatabaseConflict as error:
                log.warning("database.conflict", detail=str(error))
                return self._write_singly(observed_at_ms, call, refreshed, failed)
            except DatabaseUnavailable as error:
                over = time.monotonic() + pause_s > until_s
                if self._reconnect is None or over or self._stop.is_set():
                    raise
                if pause_s == _FIRST_PAUSE_S:
                    log.warning("database.away", detail=str(error), keep_s=KEEP_S)
            self._stop.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
            keep()

    def _write_singly(
        self,
        observed_at_ms: int,
        call: CallAudit | None,
        refreshed: Sequence[SymbolRefresh],
        failed: Sequence[tuple[str, str]],
    ) -> WriteResult:
        """The same, a transaction each: a row whose transaction is cancelled again fails alone."""
        busy: dict[str, str] = {}
        results = []
        for row in refreshed:
            try:
                results.append(self._write(observed_at_ms, call, [row], []))
            except DatabaseConflict as error:
                busy[row.symbol] = error.message
        results.append(self._write(observed_at_ms, call, [], [*failed, *busy.items()]))
        return WriteResult(
            changed=tuple(symbol for result in results for symbol in result.changed),
            unchanged=tuple(symbol for result in results for symbol in result.unchanged),
            refused=busy | {s: why for result in results for s, why in result.refused.items()},
            busy=frozenset(busy).union(*(result.busy for result in results)),
            suspect={s: why for result in results for s, why in result.suspect.items()},
            bars_written=sum(result.bars_written for result in results),
        )

    def _write(
        self,
        observed_at_ms: int,
        call: CallAudit | None,
        refreshed: Sequence[SymbolRefresh],
        failed: Sequence[tuple[str, str]],
    ) -> WriteResult:
        if self.connection.closed and self._reconnect:
            self._use(self._reconnect())
        try:
            return self._writer.write(observed_at_ms, call, refreshed, failed)
        except DatabaseUnavailable:
            self.connection.close()
            raise
