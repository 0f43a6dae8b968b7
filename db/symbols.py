"""trading.symbols: the tracked assets and the age of their prices."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from psycopg import errors
from psycopg.rows import kwargs_row

from db.connection import Connection, Limits, unit_of_work
from db.errors import SymbolRejected
from db.queries import sql
from db.rows import parse_instant

_PATIENT = Limits(statement_s=120.0)
"""For two years of bars at once."""
_STRICT = (
    "Give that column a default, or insert the row with your own columns first; the import then "
    "fills in the others."
)


@dataclass(frozen=True)
class Asset:
    """One row of the catalogue. `priority` is the band, 1 (critical) to 4 (low)."""

    symbol: str
    polygon_ticker: str
    asset_type: str
    name: str | None = None
    priority: int = 3
    update_frequency_seconds: int | None = None


@dataclass(frozen=True)
class StoredAsset(Asset):
    """An asset with its latest price; a value that is absent or out of range is None."""

    last_price: Decimal | None = None
    as_of: datetime | None = None
    source: str | None = None
    delay: str | None = None
    observed_at_ms: int | None = None
    updated_at: datetime | None = None
    active: bool = True
    """False: it is paused, and nothing asks for it."""


@dataclass(frozen=True)
class ImportCounts:
    """The result of an import; the three numbers add up to the number of different symbols."""

    inserted: int
    updated: int
    unchanged: int
    new: tuple[str, ...] = field(default=(), compare=False)
    """The symbols that were inserted."""


class SymbolRepository:
    """Reads tracked symbols: active, and with a polygon_ticker. Other rows are the user's own."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def upsert_many(self, assets: Iterable[Asset], *, overwrite: bool = True) -> ImportCounts:
        """Add and update catalogue rows in one transaction; other columns are left alone.

        A name or frequency of None keeps the stored value. `overwrite=False` fills only empty
        columns of existing rows: for a catalogue that must not undo the user's edits. Of two
        assets with one symbol the last counts. Raises SymbolRejected if a rule of the table (a
        NOT NULL column of the user's, a CHECK, an enum) refuses one; then none is stored.
        """
        by_symbol = {asset.symbol: asset for asset in assets}
        with unit_of_work(self._connection):
            try:
                return self._upsert(by_symbol, overwrite)
            except (errors.IntegrityError, errors.DataError) as error:
                strict = isinstance(error, errors.NotNullViolation)
                raise SymbolRejected(
                    f"trading.symbols refuses an imported row: {error.diag.message_primary}.",
                    remedy=_STRICT if strict else "Change that rule or type, or the imported row.",
                ) from error

    def get_many(self, symbols: Sequence[str], *, paused: bool = False) -> dict[str, StoredAsset]:
        """The tracked ones of the symbols; with `paused` those that are paused as well."""
        found = self._select(symbols=list(symbols), paused=paused)
        return {asset.symbol: asset for asset in found}

    def list(self, *, band: int | None = None, paused: bool = False) -> tuple[StoredAsset, ...]:
        """All tracked assets, or those of one band, by band and symbol."""
        return self._select(band=band, paused=paused)

    def set_active(self, symbols: Sequence[str], *, active: bool) -> tuple[str, ...]:
        """Pause or resume assets; returns those that changed."""
        with unit_of_work(self._connection):
            self._connection.execute(sql("lock_symbols"), {"symbols": list(symbols)})
            parameters = {"symbols": list(symbols), "active": active}
            changed = self._connection.execute(sql("set_active"), parameters)
            return tuple(sorted(symbol for (symbol,) in changed))

    def count_bars(self, symbols: Sequence[str]) -> int:
        """The number of stored 5-minute bars of these assets."""
        with unit_of_work(self._connection, _PATIENT):
            cursor = self._connection.execute(sql("count_bars"), {"symbols": list(symbols)})
            return sum(count for (count,) in cursor)

    def delete(self, symbol: str) -> int:
        """Delete an asset with its prices, bars and coverage; returns the number of 5-minute bars.

        Raises SymbolRejected if rows of the user's own refer to it; then nothing is deleted.
        """
        with unit_of_work(self._connection, _PATIENT):
            self._connection.execute(sql("lock_symbol"), {"symbol": symbol})
            try:
                cursor = self._connection.execute(sql("delete_symbol"), {"symbol": symbol})
            except errors.IntegrityError as error:
                raise SymbolRejected(
                    f"{symbol} cannot be removed: {error.diag.message_primary}.",
                    remedy=f"Delete those rows first, or keep it: `assetq symbols pause {symbol}`.",
                ) from error
            return sum(count for (count,) in cursor)

    def stalest(self) -> tuple[StoredAsset, ...]:
        """All tracked assets: never refreshed first, then by as_of, last observation, and band.

        Across bands: a queue with room for only some of them must not starve the low ones.
        """
        return self._select(stalest=True)

    def _upsert(self, by_symbol: dict[str, Asset], overwrite: bool) -> ImportCounts:
        connection = self._connection
        connection.execute(sql("import_lock"))
        rows = connection.execute(sql("lock_symbols"), {"symbols": list(by_symbol)})
        known = {symbol for symbol, _ in rows}
        parameters = {
            symbol: asdict(asset) | {"overwrite": overwrite} for symbol, asset in by_symbol.items()
        }
        # Updates apart from inserts: ON CONFLICT DO UPDATE would stumble over the user's own
        # NOT NULL columns even for rows that exist.
        updated = _many(connection, "update_symbol", [parameters[s] for s in sorted(known)])
        new = sorted(by_symbol.keys() - known)
        inserted = _many(connection, "insert_symbol", [parameters[s] for s in new])
        unchanged = len(by_symbol) - inserted - updated
        return ImportCounts(inserted, updated, unchanged, tuple(s for s in by_symbol if s in new))

    def _select(
        self,
        *,
        symbols: Sequence[str] | None = None,
        band: int | None = None,
        stalest: bool = False,
        paused: bool = False,
    ) -> tuple[StoredAsset, ...]:
        parameters = {
            "symbols": symbols,
            "band": band,
            "stalest": stalest,
            "paused": paused,
        }
        with (
            unit_of_work(self._connection),
            self._connection.cursor(row_factory=kwargs_row(_stored)) as cursor,
        ):
            return tuple(cursor.execute(sql("select_symbols"), parameters))


def _stored(*, as_of: str | None, **columns: Any) -> StoredAsset:
    return StoredAsset(as_of=parse_instant(as_of), **columns)


def _many(connection: Connection, name: str, rows: Sequence[dict[str, Any]]) -> int:
    if not rows:
        return 0
    with connection.cursor() as cursor:
        cursor.executemany(sql(name), rows)
        return cursor.rowcount
