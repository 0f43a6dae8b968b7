"""Which assets a round asks for: rules shared by batch and secondary."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from db.symbols import StoredAsset
from market.feeds import Feed
from market.freshness import newest_allowed_day, nothing_newer
from market.tickers import asset_kind
from queueing import Priority, PriorityQueue
from queueing.models import Enqueued
from worker.capabilities import Capabilities
from worker.series import SeriesNeed
from worker.work import bars_request


def is_current(
    asset: StoredAsset, feed: Feed, now: datetime, need: SeriesNeed | None = None
) -> bool:
    """True if the plan can give nothing newer than what is stored. `need` tells what is known of
    the asset's days."""
    newest = newest_allowed_day(now, asset_kind(asset.polygon_ticker))
    return nothing_newer(
        asset.polygon_ticker,
        asset.as_of,
        feed,
        now,
        observed_at=_observed_at(asset),
        day_settled=need is not None and need.settled(newest),
    )


def is_due(
    asset: StoredAsset,
    feed: Feed,
    now: datetime,
    round_every: timedelta,
    need: SeriesNeed | None = None,
) -> bool:
    """True if a refresh may bring something newer and its time is nearer to this round than to the
    next one.

    An asset's last refresh came some time after the round that asked for it: without this slack
    one whose own interval is that of the rounds would be asked for in every second round only.
    """
    if is_current(asset, feed, now, need):
        return False
    every, last = asset.update_frequency_seconds, _observed_at(asset)
    if every is None or last is None:
        return True
    return now - last >= timedelta(seconds=every) - round_every / 2


def calls_for(
    assets: Iterable[StoredAsset],
    capabilities: Capabilities,
    now: datetime,
    needs: Mapping[str, SeriesNeed],
) -> int:
    """How many calls it takes to refresh those of the assets that can be newer at `now`."""
    by_feed: dict[Feed, list[str]] = {}
    for asset in assets:
        ticker = asset.polygon_ticker
        feed = capabilities.price_feed_for(ticker, now)
        seen_at = capabilities.seen_at(ticker, feed, now)
        if not is_current(asset, feed, seen_at, needs.get(asset.symbol)):
            by_feed.setdefault(feed, []).append(ticker)
    return sum(feed.calls_for(tickers) for feed, tickers in by_feed.items())


def ask_for_series(
    queue: PriorityQueue,
    assets: Iterable[StoredAsset],
    needs: Mapping[str, SeriesNeed],
    newest: Priority = Priority.BARS,
) -> list[Enqueued]:
    """Asks for the series that lack something, each with the urgency of what it lacks; `newest`:
    that of the newest day."""
    by_band: dict[int, list[StoredAsset]] = {}
    for asset in assets:
        need = needs.get(asset.symbol)
        if need is not None and need.lacks is not None:
            by_band.setdefault(need.urgency(newest), []).append(asset)
    return [
        queue.enqueue(map(bars_request, lacking), band) for band, lacking in sorted(by_band.items())
    ]


def utc_from_ms(ms: int) -> datetime:
    """Milliseconds since 1970 as an aware datetime."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def _observed_at(asset: StoredAsset) -> datetime | None:
    return None if asset.observed_at_ms is None else utc_from_ms(asset.observed_at_ms)
