"""The transaction that stores the answer of one API call, from the price to the audit row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace

import structlog

from db.connection import Connection, unit_of_work
from db.errors import RowRefused
from db.rows import CallAudit, SymbolRefresh, WriteResult, unstorable_price
from db.writing import Write

log = structlog.get_logger(__name__)

PROVIDER = "polygon"
# For rows that another session holds: writers of assetq hold theirs for milliseconds.
_LOCK_S, _LOCK_ALONE_S = 1.0, 0.2


class RefreshWriter:
    """Writes refreshes on one connection, each call in one transaction."""

    def __init__(
        self,
        connection: Connection,
        *,
        provider: str = PROVIDER,
        before_commit: Callable[[], None] = lambda: None,
    ) -> None:
        """`before_commit` is called when everything is written and nothing committed."""
        self._connection = connection
        self._provider = provider
        self._before_commit = before_commit

    def write(
        self,
        observed_at_ms: int,
        call: CallAudit | None,
        refreshed: Sequence[SymbolRefresh],
        failed: Sequence[tuple[str, str]] = (),
    ) -> WriteResult:
        """Store the answer in one transaction; storing the same again changes nothing.

        `observed_at_ms` is the instant of the call's grant on the queue's clock. A price is
        replaced by a newer (as_of, observed_at_ms), a bar and the sync status by a newer
        observed_at_ms. `failed` are (symbol, reason). `call` None: the call is written
        already, by an earlier part of its answer. Seven statements, whatever the number of
        symbols (bars: one more per 5,000).

        What the tables refuse (a rule of the user's own, a lock, a value) fails alone: it is named
        in the result and logged, and everything else is written. Raises DatabaseUnavailable,
        WritesRefused, DatabaseConflict, MigrationMissing or another DatabaseError for what
        concerns the whole call; then nothing is known to be written, and the same write may be
        tried again. A signal that strikes inside closes the connection.
        """
        answer = (call, _by_symbol(refreshed), dict(failed))
        try:
            result = self._transaction(observed_at_ms, *answer, alone=False)
        except RowRefused:
            result = self._transaction(observed_at_ms, *answer, alone=True)
        for note in result.notes:
            log.warning("write.refused", detail=note)
        return result

    def _transaction(
        self,
        observed_at_ms: int,
        call: CallAudit | None,
        refreshed: Mapping[str, SymbolRefresh],
        failed: Mapping[str, str],
        *,
        alone: bool,
    ) -> WriteResult:
        limits = self._connection.limits
        lock_s = _LOCK_ALONE_S if alone else _LOCK_S
        limits = replace(limits, lock_s=min(limits.lock_s or lock_s, lock_s))
        with unit_of_work(self._connection, limits):
            write = Write(self._connection, self._provider, observed_at_ms, alone=alone)
            result = write.run(call, refreshed, failed)
            self._before_commit()
            return result


def _by_symbol(refreshed: Iterable[SymbolRefresh]) -> dict[str, SymbolRefresh]:
    """One refresh per symbol; of two in the same answer the newer price counts."""
    found: dict[str, SymbolRefresh] = {}
    for item in refreshed:
        other = found.get(item.symbol)
        if other is None or _counts_before(item, other):
            found[item.symbol] = item
    return found


def _counts_before(item: SymbolRefresh, other: SymbolRefresh) -> bool:
    """Of two refreshes of one symbol the newer price counts, and one that can be stored."""
    if item.price is None or other.price is None or unstorable_price(other.price):
        return other.price is None or item.price is not None
    return not unstorable_price(item.price) and item.price.as_of >= other.price.as_of
