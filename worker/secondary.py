"""The secondary round: everything else, the stalest first, into the queue."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby
from math import ceil

import structlog

from db.connection import Connection
from db.hours import RoundFigures
from db.symbols import StoredAsset, SymbolRepository
from market.coverage import days_per_call
from market.tickers import asset_kind
from queueing import Outcome, Priority
from runtime.context import Context
from worker.capabilities import Capabilities
from worker.critical import is_critical
from worker.selection import ask_for_series, is_current, is_due, utc_from_ms
from worker.series import SeriesNeed, pairs_of, series_needs
from worker.work import price_request, usable

log = structlog.get_logger(__name__)

ITEMS_PER_ASSET = 3
"""Room in the queue for each asset unless QUEUE_MAX_SIZE is set: a price, a series, and slack."""


@dataclass(frozen=True)
class Round:
    """What became of one secondary round."""

    enqueued: int
    pending: int
    current: int
    refused: tuple[str, ...]
    dead: tuple[str, ...]
    figures: RoundFigures


def enqueue_secondary(
    context: Context, connection: Connection, capabilities: Capabilities
) -> Round:
    """Asks for every asset that is not critical and can be fresher; names what did not fit."""
    now = utc_from_ms(context.redis_now_ms())
    settings = context.settings
    every = timedelta(minutes=settings.secondary_interval_minutes)
    stalest = SymbolRepository(connection).stalest()
    others = usable(a for a in stalest if not is_critical(settings, a.symbol, a.priority))
    needs = (
        series_needs(pairs_of(others), connection, settings, capabilities, now)
        if capabilities.gives_bars()
        else {}
    )
    due = [asset for asset in others if _wanted(asset, capabilities, now, every, needs)]
    results: list[tuple[str, Outcome, str | None]] = []
    # Where not all fit, the stalest do, of whatever band: else low ones might never find room.
    if "queue_max_size" not in settings.model_fields_set:  # the default holds every asset
        context.queue.max_size = max(settings.queue_max_size, ITEMS_PER_ASSET * len(others))
    room = max(0, context.queue.max_size - context.queue.size)
    for part in (due[:room], due[room:]):
        by_band = sorted(part, key=_band)  # stable: stalest first
        for band, assets in groupby(by_band, key=_band):
            results += context.queue.enqueue(map(price_request, assets), band).results
    for asked in ask_for_series(context.queue, others, needs):
        results += asked.results
    figures = RoundFigures(len(others), len(due), _lacking(others, needs))
    round_ = _round_of(results, current=len(others) - len(due), figures=figures)
    log.info(
        "secondary.enqueued",
        enqueued=round_.enqueued,
        pending=round_.pending,
        current=round_.current,
        refused=list(round_.refused)[:20],
        dead=list(round_.dead)[:20],
    )
    return round_


def _lacking(assets: Sequence[StoredAsset], needs: Mapping[str, SeriesNeed]) -> int:
    """How many calls the series of the assets lack until they are whole."""
    calls = 0
    for asset in assets:
        need = needs.get(asset.symbol)
        if need and need.lacks and not need.lacks.again:
            calls += ceil(need.lacks.days / days_per_call(asset_kind(asset.polygon_ticker)))
    return calls


def _round_of(
    results: list[tuple[str, Outcome, str | None]], *, current: int, figures: RoundFigures
) -> Round:
    named = {outcome: [s for s, o, _ in results if o is outcome] for outcome in Outcome}
    return Round(
        enqueued=len(named[Outcome.ENQUEUED]),
        pending=len(named[Outcome.PENDING]) + len(named[Outcome.RAISED]),
        current=current,
        refused=tuple(named[Outcome.REFUSED]),
        dead=tuple(named[Outcome.DEAD]),
        figures=figures,
    )


def _wanted(
    asset: StoredAsset,
    capabilities: Capabilities,
    now: datetime,
    every: timedelta,
    needs: Mapping[str, SeriesNeed],
) -> bool:
    """The asset's price can be newer, and its time has come."""
    feed = capabilities.price_feed_for(asset.polygon_ticker, now)
    seen_at = capabilities.seen_at(asset.polygon_ticker, feed, now)
    need = needs.get(asset.symbol)
    return not is_current(asset, feed, seen_at, need) and is_due(asset, feed, now, every)


def _band(asset: StoredAsset) -> int:
    """Critical is for the batch alone."""
    return max(Priority.HIGH, asset.priority)
