"""Pausing, resuming and removing assets: the table first, then what waits in Redis.

Each may be repeated: after a crash between the two, the same call does the rest. Symbols are those
of `trading.symbols`, exactly. All raise DatabaseError and RedisError.
"""

from collections.abc import Sequence
from itertools import groupby

import structlog

from db.connection import Connection
from db.symbols import StoredAsset, SymbolRepository
from queueing import Outcome
from runtime.context import Context
from worker.capabilities import Capabilities
from worker.selection import ask_for_series, utc_from_ms
from worker.series import pairs_of, series_needs
from worker.ticks import start_drain
from worker.work import names_of, price_request, usable

log = structlog.get_logger(__name__)

Asked = tuple[str, Outcome, str | None]
"""A symbol, what became of the request for its price, and why."""


def pause(context: Context, connection: Connection, symbols: Sequence[str]) -> tuple[str, ...]:
    """Stop asking for assets; returns those that were not paused before.

    Their requests and dead letters go; a call that is under way ends, and its price is stored.
    """
    changed = SymbolRepository(connection).set_active(symbols, active=False)
    _forget(context, symbols)
    log.info("symbols.paused", symbols=changed)
    return changed


def resume(context: Context, connection: Connection, symbols: Sequence[str]) -> tuple[str, ...]:
    """Ask for assets again, and at once; returns those that were paused before."""
    changed = SymbolRepository(connection).set_active(symbols, active=True)
    ask_at_once(context, connection, changed)
    log.info("symbols.resumed", symbols=changed)
    return changed


def remove(context: Context, connection: Connection, symbol: str) -> int:
    """Delete an asset with its bars, coverage and requests; returns the number of 5-minute bars.

    Raises SymbolRejected if rows of the user's own refer to it; then nothing is deleted.
    """
    bars = SymbolRepository(connection).delete(symbol)
    _forget(context, [symbol])
    log.info("symbol.removed", symbol=symbol, bars=bars)
    return bars


def ask_at_once(context: Context, connection: Connection, symbols: Sequence[str]) -> list[Asked]:
    """Ask for the prices of assets, each in its own band, and for the bars that they lack.

    Within a band in the given order. Starts a drain. What a full queue refuses is asked for by the
    secondary rounds.
    """
    repository = SymbolRepository(connection)
    context.note_assets(len(repository.list()))
    found = repository.get_many(symbols)
    assets = sorted(usable(found[s] for s in symbols if s in found), key=_band)
    asked: list[Asked] = []
    for band, group in groupby(assets, key=_band):
        asked += context.queue.enqueue(map(price_request, group), band, revive=True).results
    capabilities = Capabilities(context)
    if capabilities.gives_bars():
        now = utc_from_ms(context.redis_now_ms())
        pairs = pairs_of(assets)
        needs = series_needs(pairs, connection, context.settings, capabilities, now)
        ask_for_series(context.queue, assets, needs)
    if asked:
        start_drain(context)
    return asked


def _band(asset: StoredAsset) -> int:
    return asset.priority


def _forget(context: Context, symbols: Sequence[str]) -> None:
    """Take the requests for prices and bars back, and drop the dead letters."""
    names = [name for symbol in symbols for name in names_of(symbol)]
    context.queue.cancel(names)
    context.queue.drop_dead(names)
