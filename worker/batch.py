"""The batch: the critical assets, in their order, on every slot."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import structlog

from db.connection import Connection
from db.symbols import StoredAsset
from market.quotes import Delay
from queueing import Batch, BatchOutcome, Enqueued, Priority, PriorityQueue
from runtime.context import Context
from runtime.failpoints import Point, reached
from worker.capabilities import Capabilities
from worker.critical import batch_assets
from worker.secondary import enqueue_secondary
from worker.selection import ask_for_series, calls_for, utc_from_ms
from worker.series import SeriesNeed, pairs_of, series_needs
from worker.work import price_request, unusable, usable

log = structlog.get_logger(__name__)

UNKNOWN = "not in trading.symbols: run `assetq symbols import`"
NEWEST_CRITICAL = Priority.LOW
"""Where the newest bars of critical assets wait: before those of all others, but no price whose
time has come waits for bars."""
CURRENT = "nothing newer can exist for this plan now"
REFRESHED = "refreshed since the slot began"


def slot_of(now_ms: int, interval_ms: int) -> int:
    """The beginning of the slot that `now_ms` lies in, in ms of Redis' clock."""
    return now_ms - now_ms % interval_ms


def begin(
    context: Context, connection: Connection, capabilities: Capabilities, *, by_hand: bool = False
) -> str:
    """Begins the batch of the present slot, once; returns its slot.

    Its record, its assets in the queue and the reservation for the next batch are one step in
    Redis. A batch asked for by hand has a slot of its own and leaves the schedule as it is.
    """
    settings = context.settings
    interval_ms = settings.batch_interval_minutes * 60_000
    now_ms = context.redis_now_ms()
    planned_ms = slot_of(now_ms, interval_ms)
    slot = f"{planned_ms // 1000}" if not by_hand else f"{now_ms}-by-hand"
    wanted, known = batch_assets(settings, connection)
    found = usable(known[symbol] for symbol in wanted if symbol in known)
    now, then = utc_from_ms(now_ms), utc_from_ms(planned_ms + interval_ms)
    needs: Mapping[str, SeriesNeed] = {}
    if capabilities.gives_bars():
        needs = series_needs(pairs_of(found), connection, settings, capabilities, now)
    outcomes = _unaskable(wanted, known) | _current(found, capabilities, now, needs)
    if not by_hand:
        outcomes = _refreshed(found, capabilities, planned_ms, now_ms) | outcomes
    resting = _resting(context.queue, planned_ms + interval_ms)
    next_ones = [asset for asset in found if asset.symbol not in resting]
    batch = Batch(
        slot=slot,
        planned_at_ms=planned_ms if not by_hand else now_ms,
        next_at_ms=planned_ms + interval_ms,
        interval_ms=interval_ms,
        next_calls=_next_calls(next_ones, outcomes, capabilities, then, needs),
        assets=wanted,
        outcomes=outcomes,
    )
    if by_hand:
        batch = _as_reserved(context, batch)
    requests = [price_request(asset) for asset in found if asset.symbol not in outcomes]
    result = context.queue.enqueue(requests, Priority.CRITICAL, batch=batch)
    reached(Point.BATCH_BEFORE_BARS)
    ask_for_series(context.queue, found, needs, NEWEST_CRITICAL)
    if requests and shares_a_day(capabilities, found, now):
        enqueue_secondary(context, connection, capabilities)
    _log(slot, planned_ms, now_ms, result, outcomes)
    return slot


def shares_a_day(capabilities: Capabilities, found: Sequence[StoredAsset], now: datetime) -> bool:
    """True if a call that brings the new day of a critical asset brings that of all others: they
    are asked for along with it, not half an hour later by a call of their own."""
    feeds = {capabilities.price_feed_for(asset.polygon_ticker, now) for asset in found}
    return any(feed.delay is Delay.END_OF_DAY and feed.max_tickers > 1 for feed in feeds)


def plan_changed(context: Context, connection: Connection, capabilities: Capabilities) -> None:
    """The plan turned out to be another one: the right number of calls is kept free for the next
    batch."""
    capabilities.refused()
    status = context.limiter.status()
    if not status.batch_at_ms:
        return
    _, known = batch_assets(context.settings, connection)
    calls = calls_for(usable(known.values()), capabilities, utc_from_ms(status.batch_at_ms), {})
    interval_ms = context.settings.batch_interval_minutes * 60_000
    context.limiter.plan_batch(status.batch_at_ms, interval_ms, calls)


def _unaskable(wanted: Sequence[str], known: Mapping[str, StoredAsset]) -> dict[str, BatchOutcome]:
    """The assets that no call can ask for, each with the reason."""
    flaws = {s: unusable(s, known[s].polygon_ticker) if s in known else UNKNOWN for s in wanted}
    return {symbol: BatchOutcome("failed", why) for symbol, why in flaws.items() if why}


def _current(
    found: list[StoredAsset],
    capabilities: Capabilities,
    now: datetime,
    needs: Mapping[str, SeriesNeed],
) -> dict[str, BatchOutcome]:
    """The assets for which a call could bring nothing newer."""
    fresh = [asset for asset in found if not calls_for([asset], capabilities, now, needs)]
    return {asset.symbol: BatchOutcome("current", CURRENT) for asset in fresh}


def _refreshed(
    found: list[StoredAsset], capabilities: Capabilities, planned_ms: int, now_ms: int
) -> dict[str, BatchOutcome]:
    """The assets whose live price is of this very slot: at a first start an import, or work that
    waited, comes before the first batch, which would spend a second call on each of them."""
    if capabilities.price_feed().delay is Delay.END_OF_DAY:
        return {}
    times = {asset.symbol: asset.observed_at_ms or 0 for asset in found}
    fresh = [symbol for symbol, at_ms in times.items() if planned_ms <= at_ms <= now_ms]
    return {symbol: BatchOutcome("current", REFRESHED) for symbol in fresh}


def _next_calls(
    found: list[StoredAsset],
    outcomes: dict[str, BatchOutcome],
    capabilities: Capabilities,
    then: datetime,
    needs: Mapping[str, SeriesNeed],
) -> int:
    """The calls to keep free for the next batch, as if this one left everything fresh."""
    if capabilities.price_feed().delay is Delay.END_OF_DAY:
        # After this batch only a new day brings anything.
        found = [asset for asset in found if asset.symbol in outcomes]
    return calls_for(found, capabilities, then, needs)


def _resting(queue: PriorityQueue, then_ms: int) -> set[str]:
    """What was given up and will still be at rest then: the next batch makes no call for it."""
    until = {letter.symbol: queue.rests_until_ms(letter) for letter in queue.dead()}
    return {symbol for symbol, ms in until.items() if ms is None or ms > then_ms}


def _as_reserved(context: Context, batch: Batch) -> Batch:
    """With the reservation as it stands: the slot's own batch may still be to come."""
    status = context.limiter.status()
    return replace(
        batch,
        next_at_ms=status.batch_at_ms,
        interval_ms=batch.interval_ms if status.batch_at_ms else 0,
        next_calls=status.batch_calls,
    )


def _log(
    slot: str, planned_ms: int, now_ms: int, result: Enqueued, outcomes: dict[str, BatchOutcome]
) -> None:
    if result.exists:
        log.info("batch.exists", slot=slot)
        return
    asked = [symbol for symbol, _, _ in result.results]
    log.info("batch.begun", slot=slot, late_ms=now_ms - planned_ms, asked=asked, known=[*outcomes])
