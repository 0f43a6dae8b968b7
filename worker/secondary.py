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
from queueing import Outcome, Priority, PriorityQueue
from runtime.context import Context
from worker.capabilities import Capabilities
from worker.critical import is_critical
from worker.selection import ask_for_series, is_current, is_due, utc_from_ms
from worker.series import SeriesNeed, pairs_of, series_needs
from worker.work import bars_name, is_bars, price_request, usable

log = structlog.get_logger(__name__)


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
    context.note_assets(len(stalest))
    results = _ask(context.queue, due, others, needs)
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


def _ask(
    queue: PriorityQueue,
    due: Sequence[StoredAsset],
    others: Sequence[StoredAsset],
    needs: Mapping[str, SeriesNeed],
) -> list[tuple[str, Outcome, str | None]]:
    """Asks for prices, then for series; both are the stalest first.

    Where not all fit, the stalest prices do, of whatever band: else low ones might never find
    room. Series may hold a quarter of the places, or those that prices never need.
    """
    pending = set(queue.pending())
    new = [a for a in others if _lacks(a, needs) and bars_name(a.symbol) not in pending]
    size = queue.max_size
    for_series = max(size // 4, min(1, size - 1), size - len(others))
    left = max(0, for_series - sum(map(is_bars, pending)))
    late = {a.symbol for a in sorted(new, key=lambda a: needs[a.symbol].urgency())[left:]}
    room = max(0, size - len(pending) - min(left, len(new)))
    results = _ask_for_prices(queue, due[:room])
    fitting = [asset for asset in others if asset.symbol not in late]
    for asked in ask_for_series(queue, fitting, needs):
        results += asked.results
    results += _ask_for_prices(queue, due[room:])
    return results + [(bars_name(symbol), Outcome.REFUSED, None) for symbol in sorted(late)]


def _ask_for_prices(
    queue: PriorityQueue, assets: Sequence[StoredAsset]
) -> list[tuple[str, Outcome, str | None]]:
    results: list[tuple[str, Outcome, str | None]] = []
    by_band = sorted(assets, key=_band)  # stable: stalest first
    for band, those in groupby(by_band, key=_band):
        results += queue.enqueue(map(price_request, those), band).results
    return results


def _lacks(asset: StoredAsset, needs: Mapping[str, SeriesNeed]) -> bool:
    need = needs.get(asset.symbol)
    return need is not None and need.lacks is not None


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
