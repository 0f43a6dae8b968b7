"""PostgreSQL for one drain: an answer in hand waits for it a little, for it has cost a call."""

import time
from collections.abc import Callable, Sequence

import structlog

from db.connection import Connection
from db.errors import DatabaseBusy, DatabaseError, DatabaseUnavailable
from db.refresh import RefreshWriter
from db.rows import CallAudit, SymbolRefresh, WriteResult
from runtime.failpoints import Point, reached
from runtime.stopping import STOP, StopFlag

log = structlog.get_logger(__name__)

KEEP_S = 8.0
"""How long an answer waits for PostgreSQL: a restart, a failover, a lock. Then its items return."""
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.25, 2.0


class Store:
    """Writes refreshes, on a new connection where the old one is lost."""

    def __init__(
        self,
        connection: Connection,
        reconnect: Callable[[], Connection] | None = None,
        stop: StopFlag = STOP,
    ) -> None:
        """`reconnect` opens another connection, which is the store's to close."""
        self._first = connection
        self._reconnect = reconnect
        self._stop = stop
        self._use(connection)

    def _use(self, connection: Connection) -> None:
        self.connection = connection
        self._writer = RefreshWriter(connection, before_commit=lambda: reached(Point.COMMIT_BEFORE))

    def close(self) -> None:
        """Closes what it opened."""
        if self.connection is not self._first:
            self.connection.close()

    def write(
        self,
        observed_at_ms: int,
        call: CallAudit,
        refreshed: Sequence[SymbolRefresh],
        failed: Sequence[tuple[str, str]] = (),
        *,
        keep: Callable[[], object],
    ) -> WriteResult:
        """Stores an answer in one transaction, or each row in its own where a row is refused.

        Raises DatabaseError where PostgreSQL is away, busy, or not prepared for us. `keep` is
        called between two tries (it prolongs the lease).
        """
        try:
            return self._write_patiently(observed_at_ms, call, refreshed, failed, keep)
        except DatabaseError as error:
            if type(error) is not DatabaseError:
                raise
            log.error("database.refused", detail=str(error))
            return self._write_singly(observed_at_ms, call, refreshed, failed, keep)

    def _write_singly(
        self,
        observed_at_ms: int,
        call: CallAudit,
        refreshed: Sequence[SymbolRefresh],
        failed: Sequence[tuple[str, str]],
        keep: Callable[[], object],
    ) -> WriteResult:
        """The same, a transaction each: a rule of the user's own table that refuses one asset must
        neither cost the others their prices nor turn in a circle."""
        results: list[WriteResult] = []
        refused: dict[str, str] = {}
        for row in refreshed:
            keep()  # a transaction each takes its time; old prices replace nothing
            try:
                results.append(self._write_patiently(observed_at_ms, call, [row], (), keep))
            except DatabaseError as error:
                if type(error) is not DatabaseError:
                    raise
                refused[row.symbol] = str(error)
        errors = [*failed, *refused.items()]
        results.append(self._write_patiently(observed_at_ms, call, [], errors, keep))
        return WriteResult(
            changed=tuple(symbol for result in results for symbol in result.changed),
            unchanged=tuple(symbol for result in results for symbol in result.unchanged),
            refused={s: why for result in results for s, why in result.refused.items()} | refused,
            bars_written=sum(result.bars_written for result in results),
        )

    def _write_patiently(
        self,
        observed_at_ms: int,
        call: CallAudit,
        refreshed: Sequence[SymbolRefresh],
        failed: Sequence[tuple[str, str]],
        keep: Callable[[], object],
    ) -> WriteResult:
        """RefreshWriter.write, tried again for KEEP_S while PostgreSQL is away or busy.

        A second write of the same changes nothing more. A process that is to end tries once.
        """
        until_s, pause_s = time.monotonic() + KEEP_S, _FIRST_PAUSE_S
        while True:
            try:
                return self._write(observed_at_ms, call, refreshed, failed)
            except (DatabaseUnavailable, DatabaseBusy) as error:
                over = time.monotonic() + pause_s > until_s
                if self._reconnect is None or over or self._stop.is_set():
                    raise
                if pause_s == _FIRST_PAUSE_S:
                    log.warning("database.away", detail=str(error), keep_s=KEEP_S)
            self._stop.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
            keep()

    def _write(
        self,
        observed_at_ms: int,
        call: CallAudit,
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
