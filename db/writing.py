"""The steps of one write, of which each part may fail alone."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from db.bars import SeriesBar, series_bars, upsert_bars
from db.calls import insert_call
from db.connection import Connection
from db.coverage import FULL_DAY, Asked, CoveredDay, covered_days, record_days
from db.errors import DatabaseBusy, RowRefused
from db.isolation import Isolated, isolate
from db.prices import Stored, Verdict, update_prices
from db.queries import sql
from db.rows import (
    CallAudit,
    NewPrice,
    SymbolRefresh,
    WriteResult,
    instant_of,
    storable_text,
    unstorable_bar,
    unstorable_price,
)
from db.status import upsert_status

_BARS_PER_STATEMENT = 5_000

T = TypeVar("T")
R = TypeVar("R")


class Write:
    """One write inside a transaction. `alone`: what is refused is found and left out; else the
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
        self._suspect: dict[str, str] = {}
        self._notes: list[str] = []

    def run(
        self,
        call: CallAudit | None,
        refreshed: Mapping[str, SymbolRefresh],
        failed: Mapping[str, str],
    ) -> WriteResult:
        """Write the prices and bars, the failures and the call; returns what became of each."""
        known = self._lock({*refreshed, *failed})
        for symbol in {**refreshed, **failed}:
            if symbol not in known:
                self._refused[symbol] = "not in trading.symbols"
        for symbol, item in refreshed.items():
            if why := _flaw(item, known.get(symbol, "object")):
                self._refused.setdefault(symbol, why)
        items = list(refreshed.values())
        self._write_prices(items)
        bars_written = sum(self._write_series(items, timeframe) for timeframe in FULL_DAY)
        errors = {**failed, **self._suspect, **self._refused}
        self._write_status(
            {item.symbol: None for item in self._open(items) if item.new_price}
            | {symbol: errors[symbol] for symbol in errors if symbol in known}
        )
        if call:
            self._write_call(call)
        stored = [item.symbol for item in self._open(items)]
        return WriteResult(
            changed=tuple(symbol for symbol in stored if symbol in self._changed),
            unchanged=tuple(s for s in stored if s not in self._changed and s not in self._suspect),
            refused=self._refused,
            busy=frozenset(self._busy),
            suspect=self._suspect,
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

    def _write_prices(self, items: Iterable[SymbolRefresh]) -> None:
        prices = [price for item in self._open(items) if (price := item.new_price)]
        outcome = self._each(
            prices, lambda part: update_prices(self._connection, self._observed_at_ms, part)
        )
        stored = {symbol: s for part in outcome.written for symbol, s in part.items()}
        for new in prices:
            self._judge(new, stored.get(new.symbol))
        for refused, why in outcome.refused:
            self._refuse([price.symbol for price in refused], why)

    def _judge(self, new: NewPrice, stored: Stored | None) -> None:
        match stored:
            case Stored(Verdict.CHANGED):
                self._changed.add(new.symbol)
            case Stored(Verdict.ALTERED):
                self._refused[new.symbol] = (
                    "a trigger of trading.symbols does not store the price as it is written"
                )
            case Stored(Verdict.SUSPECT, known):
                self._suspect[new.symbol] = (
                    f"its price {new.price.last:f} ({new.price.basis}) is far from the stored "
                    f"{known:f}, and nothing else in the answer supports it: kept aside, and "
                    "believed if the next answer repeats it"
                )

    def _write_series(self, items: Iterable[SymbolRefresh], timeframe: str) -> int:
        """Write the bars of one timeframe, and what they cover; returns the number of bars."""
        items = [i for i in self._open(items) if i.bars_of(timeframe) or _asked(i, timeframe)]
        bars, flawed = series_bars(items, timeframe)
        lost = defaultdict[str, list[tuple[datetime, RowRefused]]](list)
        for bar in flawed:
            lost[bar.symbol].append((bar.start, RowRefused(unstorable_bar(bar.bar))))
        written = 0
        for at in range(0, len(bars), _BARS_PER_STATEMENT):
            outcome = self._each(bars[at : at + _BARS_PER_STATEMENT], self._upsert(timeframe))
            written += sum(outcome.written)
            for refused, why in outcome.refused:
                for bar in refused:
                    lost[bar.symbol].append((bar.start, why))
        self._write_coverage(items, timeframe, lost)
        for item in items:
            if refusals := lost[item.symbol]:
                self._note_bars(item, timeframe, refusals)
        return written

    def _upsert(self, timeframe: str) -> Callable[[Sequence[SeriesBar]], int]:
        return lambda bars: upsert_bars(self._connection, self._observed_at_ms, timeframe, bars)

    def _note_bars(
        self,
        item: SymbolRefresh,
        timeframe: str,
        refusals: Sequence[tuple[datetime, RowRefused]],
    ) -> None:
        count = len(item.bars_of(timeframe))
        first, why = min(refusals, key=lambda refusal: refusal[0].timestamp())
        told = f"{len(refusals)} of {count} bars of {item.symbol}"
        self._notes.append(f"{told}, from {first:%Y-%m-%d %H:%M} on: {why.message}")
        if item.new_price is None and len(refusals) == count:
            self._refuse([item.symbol], why)

    def _write_coverage(
        self,
        items: Sequence[SymbolRefresh],
        timeframe: str,
        lost: Mapping[str, Sequence[tuple[datetime, RowRefused]]],
    ) -> None:
        asked_at = instant_of(self._observed_at_ms)
        rows = []
        for item in items:
            if asked := _asked(item, timeframe):
                absent = {start for start, _ in lost.get(item.symbol, ())}
                starts = {bar.start.astimezone(UTC) for bar in item.bars_of(timeframe)}
                days = covered_days(asked, starts - absent, absent, asked_at)
                rows += [(item.symbol, day) for day in days]

        def record(part: Sequence[tuple[str, CoveredDay]]) -> None:
            record_days(self._connection, asked_at, timeframe, part)

        for refused, why in self._each(rows, record).refused:
            names = ", ".join({symbol for symbol, _ in refused})
            self._notes.append(f"coverage of {names}: {why.message}")

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


def _asked(item: SymbolRefresh, timeframe: str) -> Asked | None:
    return item.asked if item.asked and item.asked.timeframe == timeframe else None


def _flaw(item: SymbolRefresh, metadata: str) -> str | None:
    """The reason why no price of the item can be stored. `metadata` is its JSON type."""
    new = item.new_price
    if new is None:
        return None
    if metadata not in ("object", "null"):
        return f"its metadata is a JSON {metadata}, not an object"
    return unstorable_price(new.price)
