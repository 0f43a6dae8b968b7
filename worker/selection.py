"""Which assets a round asks for: rules shared by batch and secondary."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from db.symbols import StoredAsset
from market.feeds import Feed
from market.freshness import nothing_newer
from queueing import Request


def request_for(asset: StoredAsset) -> Request:
    """What the queue carries of an asset: the ticker, all that a refresh needs."""
    return Request(asset.symbol, {"ticker": asset.polygon_ticker, "asset_type": asset.asset_type})


def is_current(asset: StoredAsset, feed: Feed, now: datetime) -> bool:
    """True if the plan can give nothing newer than what is stored."""
    return nothing_newer(
        asset.polygon_ticker,
        asset.as_of,
        asset.source,
        feed,
        now,
        observed_at=_observed_at(asset),
    )


def is_due(asset: StoredAsset, feed: Feed, now: datetime) -> bool:
    """True if a refresh may bring something newer and the asset's own interval has passed."""
    if is_current(asset, feed, now):
        return False
    every, last = asset.update_frequency_seconds, _observed_at(asset)
    return every is None or last is None or now - last >= timedelta(seconds=every)


def calls_for(assets: Iterable[StoredAsset], feed: Feed, now: datetime) -> int:
    """How many calls it takes to refresh those of the assets that can be newer at `now`."""
    count = sum(not is_current(asset, feed, now) for asset in assets)
    return -(-count // feed.max_tickers)


def instant(ms: int) -> datetime:
    """Milliseconds since 1970 as an aware datetime."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def _observed_at(asset: StoredAsset) -> datetime | None:
    return None if asset.observed_at_ms is None else instant(asset.observed_at_ms)
