"""trading.symbols: which assets there are, and how old their prices are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any

from psycopg import errors

from db.connection import Connection, translated_errors, unit_of_work
from db.errors import SymbolRejected, SymbolUnknown
from db.queries import sql
from db.rows import parse_instant

CRITICAL = 1


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
    """With its latest price; all None until the first refresh."""

    last_price: Decimal | None = None
    as_of: datetime | None = None
    source: str | None = None
    delay: str | None = None
    observed_at_ms: int | None = None
    updated_at: datetime | None = None


@dataclass(frozen=True)
class ImportCounts:
    """What an import did; the three add up to the number of different symbols."""

    inserted: int
    updated: int
    unchanged: int


class SymbolRepository:
    """Reads tracked symbols: active, and with a polygon_ticker. Other rows are the user's own."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def upsert_many(self, assets: Iterable[Asset], *, overwrite: bool = True) -> ImportCounts:
        """Adds and updates catalogue rows in one transaction; other columns are left alone.

        A name or frequency of None keeps what stands there. `overwrite=False` fills only empty
        columns of rows that exist: for a catalogue that ships and must not undo the user's edits.
        Of two assets with one symbol the last counts. Raises SymbolRejected if a rule of the
        table (a NOT NULL column of the user's, a CHECK, an enum) refuses one; then none is stored.
        """
        by_symbol = {asset.symbol: asset for asset in assets}
        with unit_of_work(self._connection):
            try:
                return self._upsert(by_symbol, overwrite)
            except (errors.IntegrityError, errors.DataError) as error:
                raise SymbolRejected(
                    f"trading.symbols refuses an imported row: {error.diag.message_primary}.",
                    remedy="Give that column a default, or insert the row with your own columns "
                    "first; the import then fills in the others.",
                ) from error

    def get(self, symbol: str) -> StoredAsset | None:
        """None if it is not tracked."""
        return self.get_many([symbol]).get(symbol)

    def require(self, symbol: str) -> StoredAsset:
        """Raises SymbolUnknown if it is not tracked."""
        found = self.get(symbol)
        if found is None:
            raise SymbolUnknown(symbol)
        return found

    def get_many(self, symbols: Sequence[str]) -> dict[str, StoredAsset]:
        """Those of the symbols that are tracked."""
        return {asset.symbol: asset for asset in self._select(symbols=list(symbols))}

    def critical(self) -> tuple[StoredAsset, ...]:
        """Band 1, by symbol; the order within a batch is the configuration's."""
        return self.list(band=CRITICAL)

    def list(self, *, band: int | None = None) -> tuple[StoredAsset, ...]:
        """By band, then symbol."""
        return self._select(band=band)

    def stalest(
        self,
        limit: int | None = None,
        *,
        exclude: Collection[str] = (),
        band: int | None = None,
    ) -> tuple[StoredAsset, ...]:
        """Never refreshed first, then the oldest price (as_of); ties by last observation and band.

        Across the bands unless one is named: whoever has room for some only must not starve the
        low ones, and the queue puts them in order anyway.
        """
        return self._select(exclude=list(exclude), band=band, stalest=True, limit=limit)

    def _upsert(self, by_symbol: dict[str, Asset], overwrite: bool) -> ImportCounts:
        connection = self._connection
        connection.execute(sql("import_lock"))
        rows = connection.execute(sql("lock_symbols"), {"symbols": list(by_symbol)})
        known = {symbol for symbol, _ in rows}
        existing = [_parameters(by_symbol[name], overwrite) for name in sorted(known)]
        new = [_parameters(by_symbol[name], overwrite) for name in sorted(by_symbol.keys() - known)]
        # Updates apart from inserts: ON CONFLICT DO UPDATE would stumble over the user's own
        # NOT NULL columns even for rows that exist.
        updated = _many(connection, "update_symbol", existing)
        inserted = _many(connection, "insert_symbol", new)
        return ImportCounts(inserted, updated, len(by_symbol) - inserted - updated)

    def _select(
        self,
        *,
        symbols: Sequence[str] | None = None,
        exclude: Sequence[str] = (),
        band: int | None = None,
        stalest: bool = False,
        limit: int | None = None,
    ) -> tuple[StoredAsset, ...]:
        parameters = {
            "symbols": symbols,
            "exclude": list(exclude),
            "band": band,
            "stalest": stalest,
            "limit": limit,
        }
        with translated_errors(self._connection):
            rows = self._connection.execute(sql("select_symbols"), parameters).fetchall()
        return tuple(_stored(*row) for row in rows)


def _stored(
    symbol: str,
    polygon_ticker: str,
    asset_type: str,
    name: str | None,
    priority: int,
    update_frequency_seconds: int | None,
    last_price: Decimal | None,
    as_of: str | None,
    source: str | None,
    delay: str | None,
    observed_at_ms: Decimal | None,
    updated_at: datetime | None,
) -> StoredAsset:
    return StoredAsset(
        symbol=symbol,
        polygon_ticker=polygon_ticker,
        asset_type=asset_type,
        name=name,
        priority=priority,
        update_frequency_seconds=update_frequency_seconds,
        last_price=last_price,
        as_of=parse_instant(as_of),
        source=source,
        delay=delay,
        observed_at_ms=None if observed_at_ms is None else int(observed_at_ms),
        updated_at=updated_at,
    )


def _parameters(asset: Asset, overwrite: bool) -> dict[str, Any]:
    return {
        "symbol": asset.symbol,
        "polygon_ticker": asset.polygon_ticker,
        "asset_type": asset.asset_type,
        "name": asset.name,
        "priority": asset.priority,
        "update_frequency_seconds": asset.update_frequency_seconds,
        "overwrite": overwrite,
    }


def _many(connection: Connection, name: str, rows: Sequence[dict[str, Any]]) -> int:
    if not rows:
        return 0
    with connection.cursor() as cursor:
        cursor.executemany(sql(name), rows)
        return cursor.rowcount
