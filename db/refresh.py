"""The transaction that stores the answer of one API call: prices, bars, sync status, audit row."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from db.calls import insert_call
from db.connection import Connection, unit_of_work
from db.queries import sql
from db.rows import (
    BarLike,
    CallAudit,
    SymbolRefresh,
    WriteResult,
    instant_text,
    storable_text,
    unstorable,
)

PROVIDER = "polygon"
_BARS_PER_STATEMENT = 5_000


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
        """Stores everything or, on an error, nothing; writing the same again changes nothing.

        `observed_at_ms` is the instant of the call's grant on the queue's clock. A price is
        replaced by a newer (as_of, observed_at_ms), a bar and the sync status by a newer
        observed_at_ms. `failed` are (symbol, reason). A symbol that the table does not hold, or
        whose values cannot be stored, is named in the result, and the others are written.
        Six statements, whatever the number of symbols (bars: one more per 5,000).

        Raises DatabaseUnavailable, DatabaseBusy (both: nothing known to be written, do it again),
        MigrationMissing, PermissionMissing. A signal that strikes inside closes the connection.
        """
        with unit_of_work(self._connection):
            result = self._write(observed_at_ms, call, _by_symbol(refreshed), dict(failed))
            self._before_commit()
            return result

    def _write(
        self,
        observed_at_ms: int,
        call: CallAudit,
        refreshed: Mapping[str, SymbolRefresh],
        failed: Mapping[str, str],
    ) -> WriteResult:
        known = self._lock({*refreshed, *failed})
        refused = _refusals(known, refreshed, failed)
        good = [item for symbol, item in refreshed.items() if symbol not in refused]
        priced = [item for item in good if not item.bars_only]
        changed = self._write_prices(observed_at_ms, priced)
        bars_written = self._write_bars(observed_at_ms, good)
        errors = {**failed, **refused}
        self._write_status(
            observed_at_ms,
            {
                **{symbol: errors[symbol] for symbol in errors if symbol in known},
                **{item.symbol: None for item in priced},
            },
        )
        insert_call(self._connection, self._provider, call)
        return WriteResult(
            changed=tuple(item.symbol for item in good if item.symbol in changed),
            unchanged=tuple(item.symbol for item in good if item.symbol not in changed),
            refused=refused,
            bars_written=bars_written,
        )

    def _lock(self, symbols: Iterable[str]) -> dict[str, str]:
        """Row locks in the table's order; symbol → JSON type of its metadata."""
        names = [name for name in symbols if storable_text(name) == name]
        rows = self._connection.execute(sql("lock_symbols"), {"symbols": names})
        return dict(rows.fetchall())

    def _write_prices(self, observed_at_ms: int, items: Sequence[SymbolRefresh]) -> set[str]:
        if not items:
            return set()
        prices = [item.price for item in items]
        rows = self._connection.execute(
            sql("update_prices"),
            {
                "observed_at_ms": observed_at_ms,
                "symbol": [item.symbol for item in items],
                "last_price": [price.last for price in prices],
                "bid": [price.bid for price in prices],
                "ask": [price.ask for price in prices],
                "daily_open": [price.daily_open for price in prices],
                "daily_high": [price.daily_high for price in prices],
                "daily_low": [price.daily_low for price in prices],
                "daily_close": [price.daily_close for price in prices],
                "as_of": [instant_text(price.as_of) for price in prices],
                "source": [storable_text(str(price.source)) for price in prices],
                "delay": [storable_text(str(price.delay)) for price in prices],
            },
        )
        return {symbol for (symbol,) in rows}

    def _write_bars(self, observed_at_ms: int, items: Sequence[SymbolRefresh]) -> int:
        # One row per (symbol, start): a statement may not touch the same row twice.
        bars: dict[tuple[str, datetime], tuple[str, BarLike]] = {
            (item.symbol, bar.start.astimezone(UTC)): (str(item.price.source), bar)
            for item in items
            for bar in item.bars
        }
        written = 0
        for chunk in _chunks(list(bars.items()), _BARS_PER_STATEMENT):
            parameters = _bar_arrays(chunk) | {"observed_at_ms": observed_at_ms}
            written += self._connection.execute(sql("upsert_bars"), parameters).rowcount
        return written

    def _write_status(self, observed_at_ms: int, errors: Mapping[str, str | None]) -> None:
        if errors:
            self._connection.execute(
                sql("upsert_sync_status"),
                {
                    "observed_at_ms": observed_at_ms,
                    "provider": self._provider,
                    "symbol": list(errors),
                    "error": [storable_text(error) for error in errors.values()],
                },
            )


def _by_symbol(refreshed: Iterable[SymbolRefresh]) -> dict[str, SymbolRefresh]:
    """One refresh per symbol; of two in the same answer the newer price counts."""
    found: dict[str, SymbolRefresh] = {}
    for item in refreshed:
        other = found.get(item.symbol)
        if other is None or unstorable(other) or (not unstorable(item) and _is_newer(item, other)):
            found[item.symbol] = item
    return found


def _is_newer(item: SymbolRefresh, other: SymbolRefresh) -> bool:
    return item.price.as_of >= other.price.as_of


def _refusals(
    known: Mapping[str, str], refreshed: Mapping[str, SymbolRefresh], failed: Iterable[str]
) -> dict[str, str]:
    refused = {
        symbol: "not in trading.symbols"
        for symbol in {**refreshed, **dict.fromkeys(failed)}
        if symbol not in known
    }
    for symbol, item in refreshed.items():
        if symbol in refused:
            continue
        if known[symbol] not in ("object", "null"):
            refused[symbol] = f"its metadata is a JSON {known[symbol]}, not an object"
        elif reason := unstorable(item):
            refused[symbol] = reason
    return refused


def _bar_arrays(
    chunk: Sequence[tuple[tuple[str, datetime], tuple[str, BarLike]]],
) -> dict[str, Any]:
    return {
        "symbol": [symbol for (symbol, _), _ in chunk],
        "ts": [start for (_, start), _ in chunk],
        "source": [storable_text(source) for _, (source, _) in chunk],
        "open": [bar.open for _, (_, bar) in chunk],
        "high": [bar.high for _, (_, bar) in chunk],
        "low": [bar.low for _, (_, bar) in chunk],
        "close": [bar.close for _, (_, bar) in chunk],
        "volume": [bar.volume for _, (_, bar) in chunk],
        "vwap": [bar.vwap for _, (_, bar) in chunk],
        "trades": [bar.trades for _, (_, bar) in chunk],
    }


def _chunks(
    items: Sequence[tuple[tuple[str, datetime], tuple[str, BarLike]]], size: int
) -> Iterator[Sequence[tuple[tuple[str, datetime], tuple[str, BarLike]]]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
