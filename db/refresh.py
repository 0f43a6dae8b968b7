"""The transaction that stores the answer of one API call: prices, bars, sync status, audit row."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

import structlog

from db.bars import series_bars, upsert_bars
from db.calls import insert_call
from db.connection import Connection, unit_of_work
from db.errors import DatabaseBusy, RowRefused
from db.isolation import Isolated, isolate
from db.prices import ALTERED, CHANGED, update_prices
from db.queries import sql
from db.rows import CallAudit, SymbolRefresh, WriteResult, storable_text, unstorable_price

log = structlog.get_logger(__name__)

PROVIDER = "polygon"
_BARS_PER_STATEMENT = 5_000
# For rows that another session holds: writers of assetq hold theirs for milliseconds.
_LOCK_S, _LOCK_ALONE_S = 1.0, 0.2

T = TypeVar("T")
R = TypeVar("R")


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
        call: CallAudit,
        refreshed: Sequence[SymbolRefresh],
        failed: Sequence[tuple[str, str]] = (),
    ) -> WriteResult:
        """Store the answer in one transaction; storing the same again changes nothing.

        `observed_at_ms` is the instant of the call's grant on the queue's clock. A price is
        replaced by a newer (as_of, observed_at_ms), a bar and the sync status by a newer
        observed_at_ms. `failed` are (symbol, reason). Seven statements, whatever the number of
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
        call: CallAudit,
        refreshed: Mapping[str, SymbolRefresh],
        failed: Mapping[str, str],
        *,
        alone: bool,
    ) -> WriteResult:
        limits = self._connection.limits
        lock_s = _LOCK_ALONE_S if alone else _LOCK_S
        limits = replace(limits, lock_s=min(limits.lock_s or lock_s, lock_s))
        with unit_of_work(self._connection, limits):
            write = _Write(self._connection, self._provider, observed_at_ms, alone=alone)
            result = write.run(call, refreshed, failed)
            self._before_commit()
            return result


class _Write:
    """One write, inside a transaction. `alone`: what is refused is found and left out; else the
    first refusal is raised."""

    def __init__(
        self, connection: Connection, provider: str, observed_at_ms: int, *, alone: bool
    ) -> None:
        self._connection = connection
        self._provider = provider
        self._observed_at_ms = observed_at_ms
        self._alone = alone
        self._changed: set[str] = set()
        self._refused: dict[str, str] = {}
        self._busy: set[str] = set()
        self._notes: list[str] = []

    def run(
        self, call: CallAudit, refreshed: Mapping[str, SymbolRefresh], failed: Mapping[str, str]
    ) -> WriteResult:
        known = self._lock({*refreshed, *failed})
        for symbol in {**refreshed, **failed}:
            if symbol not in known:
                self._refused[symbol] = "not in trading.symbols"
        for symbol, item in refreshed.items():
            if why := _flaw(item, known.get(symbol, "object")):
                self._refused.setdefault(symbol, why)
        items = list(refreshed.values())
        self._write_prices([item for item in self._open(items) if not item.bars_only])
        bars_written = self._write_bars(self._open(items))
        errors = {**failed, **self._refused}
        self._write_status(
            {symbol: errors[symbol] for symbol in errors if symbol in known}
            | {item.symbol: None for item in self._open(items) if not item.bars_only}
        )
        self._write_call(call)
        stored = [item.symbol for item in self._open(items)]
        return WriteResult(
            changed=tuple(symbol for symbol in stored if symbol in self._changed),
            unchanged=tuple(symbol for symbol in stored if symbol not in self._changed),
            refused=self._refused,
            busy=frozenset(self._busy),
            bars_written=bars_written,
            notes=tuple(self._notes),
        )

    def _open(self, items: Iterable[SymbolRefresh]) -> list[SymbolRefresh]:
        """Those that nothing has refused so far."""
        return [item for item in items if item.symbol not in self._refused]

    def _each(self, items: Sequence[T], write: Callable[[Sequence[T]], R]) -> Isolated[T, R]:
        """Write the items, with those that are refused left out if `alone`."""
        if self._alone:
            return isolate(self._connection, items, write)
        return Isolated([write(items)] if items else [])

    def _refuse(self, symbols: Sequence[str], why: RowRefused) -> None:
        self._refused |= dict.fromkeys(symbols, why.message)
        if isinstance(why, DatabaseBusy):
            self._busy |= set(symbols)

    def _lock(self, symbols: Iterable[str]) -> dict[str, str]:
        """Row locks in the table's order; symbol → JSON type of its metadata."""
        parameters = {"symbols": [name for name in symbols if storable_text(name) == name]}
        if not self._alone:
            return dict(self._connection.execute(sql("lock_symbols"), parameters).fetchall())
        rows = self._connection.execute(sql("lock_free_symbols"), parameters).fetchall()
        held = [symbol for symbol, _, is_locked in rows if not is_locked]
        self._refuse(held, DatabaseBusy("another session holds its row in trading.symbols"))
        return {symbol: kind for symbol, kind, _ in rows}

    def _write_prices(self, items: Sequence[SymbolRefresh]) -> None:
        outcome = self._each(
            items, lambda part: update_prices(self._connection, self._observed_at_ms, part)
        )
        for verdicts in outcome.written:
            self._changed |= {symbol for symbol, v in verdicts.items() if v == CHANGED}
            altered = [symbol for symbol, verdict in verdicts.items() if verdict == ALTERED]
            self._refused |= dict.fromkeys(
                altered, "a trigger of trading.symbols does not store the price as it is written"
            )
        for refused, why in outcome.refused:
            self._refuse([item.symbol for item in refused], why)

    def _write_bars(self, items: Sequence[SymbolRefresh]) -> int:
        bars, flaws = series_bars(items)
        self._notes += flaws
        written, lost = 0, defaultdict[str, list[tuple[datetime, RowRefused]]](list)
        for at in range(0, len(bars), _BARS_PER_STATEMENT):
            outcome = self._each(
                bars[at : at + _BARS_PER_STATEMENT],
                lambda part: upsert_bars(self._connection, self._observed_at_ms, part),
            )
            written += sum(outcome.written)
            for refused, why in outcome.refused:
                for bar in refused:
                    lost[bar.symbol].append((bar.start, why))
        for item in items:
            if refusals := lost[item.symbol]:
                first, why = min(refusals, key=lambda refusal: refusal[0])
                told = f"{len(refusals)} of {len(item.bars)} bars of {item.symbol}"
                self._notes.append(f"{told}, from {first:%Y-%m-%d %H:%M} on: {why.message}")
                if item.bars_only and len(refusals) == len(item.bars):
                    self._refuse([item.symbol], why)
        return written

    def _write_status(self, errors: Mapping[str, str | None]) -> None:
        def upsert(part: Sequence[tuple[str, str | None]]) -> None:
            upsert_status(self._connection, self._provider, self._observed_at_ms, part)

        for refused, why in self._each(list(errors.items()), upsert).refused:
            names = ", ".join(symbol for symbol, _ in refused)
            self._notes.append(f"sync status of {names}: {why.message}")

    def _write_call(self, call: CallAudit) -> None:
        def insert(part: Sequence[CallAudit]) -> None:
            insert_call(self._connection, self._provider, call)

        for _, why in self._each([call], insert).refused:
            self._notes.append(f"audit row of call {call.call_id}: {why.message}")


def upsert_status(
    connection: Connection,
    provider: str,
    observed_at_ms: int,
    errors: Sequence[tuple[str, str | None]],
) -> None:
    """Write (symbol, error) as the sync status, inside the caller's transaction; None: success."""
    connection.execute(
        sql("upsert_sync_status"),
        {
            "observed_at_ms": observed_at_ms,
            "provider": provider,
            "symbol": [symbol for symbol, _ in errors],
            "error": [storable_text(error) for _, error in errors],
        },
    )


def _by_symbol(refreshed: Iterable[SymbolRefresh]) -> dict[str, SymbolRefresh]:
    """One refresh per symbol; of two in the same answer the newer price counts."""
    found: dict[str, SymbolRefresh] = {}
    for item in refreshed:
        other = found.get(item.symbol)
        if other is None or _counts_before(item, other):
            found[item.symbol] = item
    return found


def _counts_before(item: SymbolRefresh, other: SymbolRefresh) -> bool:
    if unstorable_price(other.price):
        return True
    return not unstorable_price(item.price) and item.price.as_of >= other.price.as_of


def _flaw(item: SymbolRefresh, metadata: str) -> str | None:
    """The reason why no price of the item can be stored. `metadata` is its JSON type."""
    if item.bars_only:
        return None
    if metadata not in ("object", "null"):
        return f"its metadata is a JSON {metadata}, not an object"
    return unstorable_price(item.price)
