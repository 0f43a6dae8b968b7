"""Which assets are critical: the batch refreshes them, and everything else is secondary.

They are those of PRIORITY_ASSETS in its order; where it is not set, the CRITICAL ones that are not
paused: gold, euro and bitcoin first, the others by name.
"""

from collections.abc import Iterable
from typing import Final

from db.connection import Connection
from db.symbols import StoredAsset, SymbolRepository
from queueing import Priority
from runtime.context import Context
from settings import Settings

FIRST: Final = ("XAUUSD", "EURUSD", "BTCUSD")


def is_critical(settings: Settings, symbol: str, band: int) -> bool:
    """True for an asset that the batch refreshes; never where batches are switched off."""
    if not settings.priority_assets_enabled:
        return False
    if settings.priority_assets:
        return symbol in settings.priority_assets
    return band == Priority.CRITICAL


def critical_symbols(settings: Settings, assets: Iterable[StoredAsset]) -> tuple[str, ...]:
    """The symbols of the batch in its order, of all tracked assets; none where it is switched off.

    PRIORITY_ASSETS may name some that are not tracked.
    """
    if not settings.priority_assets_enabled:
        return ()
    if settings.priority_assets:
        return settings.priority_assets
    return _in_order(a.symbol for a in assets if a.priority == Priority.CRITICAL)


def batch_assets(
    settings: Settings, connection: Connection
) -> tuple[tuple[str, ...], dict[str, StoredAsset]]:
    """The symbols of the batch in its order, and those of them that are tracked.

    In an empty table they are those of the shipped catalogue, which the batch then misses by name.
    Raises DatabaseError.
    """
    repository = SymbolRepository(connection)
    if settings.priority_assets:
        return settings.priority_assets, repository.get_many(settings.priority_assets)
    known = {asset.symbol: asset for asset in repository.list(band=Priority.CRITICAL)}
    if not known and not repository.list():
        return FIRST, {}
    return _in_order(known), known


def last_known(context: Context) -> tuple[str, ...]:
    """The symbols of the batch as Redis knows them, without PostgreSQL: those of the newest batch.

    Before the first one: those of the shipped catalogue. Raises RedisError.
    """
    if context.settings.priority_assets:
        return context.settings.priority_assets
    newest = next(iter(context.queue.batches(1)), None)
    return tuple(newest.assets) if newest else FIRST


def _in_order(symbols: Iterable[str]) -> tuple[str, ...]:
    rank = {symbol: number for number, symbol in enumerate(FIRST)}
    return tuple(sorted(symbols, key=lambda symbol: (rank.get(symbol, len(rank)), symbol)))
