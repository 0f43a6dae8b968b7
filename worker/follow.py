"""The round of new bars, on plans that are live and count no calls: bars follow the clock.

Every five minutes, as soon as the newest bar has settled, the newest day of each series is asked
for: of critical assets at once, of the others as often as their own interval wants it.
"""

from datetime import datetime, timedelta
from typing import Final

import structlog

from db.connection import Connection
from db.symbols import StoredAsset, SymbolRepository
from market.coverage import BAR, SETTLES
from queueing import Enqueued
from runtime.context import Context
from worker.batch import NEWEST_CRITICAL
from worker.capabilities import Capabilities
from worker.critical import critical_symbols
from worker.selection import ask_for_series, utc_from_ms
from worker.series import SeriesNeed, bars_until, pairs_of, series_needs
from worker.work import usable

log = structlog.get_logger(__name__)

EVERY: Final = BAR
EVERY_MS: Final = int(EVERY.total_seconds() * 1000)
SETTLES_MS: Final = int(SETTLES.total_seconds() * 1000)
_QUEUED: Final = timedelta(seconds=60)
"""What a round allows for the wait in the queue."""


def enqueue_new_bars(
    context: Context, connection: Connection, capabilities: Capabilities
) -> list[Enqueued]:
    """Asks for the series whose newest day has bars that are to be stored now, critical ones first.

    A query for each kind of market; the newest day alone, so that it costs the same every time.
    """
    if not capabilities.gives_bars():
        return []
    now, settings = utc_from_ms(context.redis_now_ms()), context.settings
    assets = usable(SymbolRepository(connection).list())
    first = critical_symbols(settings, assets)
    needs = series_needs(
        pairs_of(assets), connection, settings, capabilities, now, newest_only=True
    )
    by_name = {asset.symbol: asset for asset in assets}
    critical = [by_name.pop(symbol) for symbol in first if symbol in by_name]
    others = [asset for asset in by_name.values() if _is_due(asset, needs.get(asset.symbol), now)]
    asked = ask_for_series(context.queue, critical, needs, NEWEST_CRITICAL)
    asked += ask_for_series(context.queue, others, needs)
    log.info("bars.enqueued", critical=len(critical), others=len(others))
    return asked


def _is_due(asset: StoredAsset, need: SeriesNeed | None, now: datetime) -> bool:
    """The asset's oldest bar that is not stored would become older than its interval by the next
    round."""
    if need is None or need.lacks is None:
        return False
    every, asked_at = asset.update_frequency_seconds, need.lacks.asked_at
    if every is None or asked_at is None:
        return True
    gone = _slot(bars_until(now)) - _slot(bars_until(asked_at))
    return gone + SETTLES + _QUEUED > timedelta(seconds=every)


def _slot(at: datetime) -> datetime:
    """The end of the newest bar that had ended then."""
    return at - timedelta(seconds=at.timestamp() % BAR.total_seconds())
