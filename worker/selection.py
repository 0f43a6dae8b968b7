"""Which assets a round asks for: rules shared by batch and secondary."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

from db.bars import BarRepository
from db.connection import Connection
from db.symbols import StoredAsset
from market.feeds import Feed
from market.freshness import newest_allowed_day, nothing_newer
from market.tickers import asset_kind


def lacking_bars(
    assets: Sequence[StoredAsset], connection: Connection, feed: Feed, now: datetime
) -> list[StoredAsset]:
    """Those whose newest completed day is not stored, where the price's feed brings no bars.

    A handful of calls a day: the bars of a completed day do not change.
    """
    if feed.brings_bars:
        return []
    newest = BarRepository(connection).newest([asset.symbol for asset in assets])

    def reaches(asset: StoredAsset) -> bool:
        day = newest_allowed_day(now, asset_kind(asset.polygon_ticker))
        at = newest.get(asset.symbol)
        return at is not None and at.astimezone(UTC).date() >= day

    return [asset for asset in assets if not reaches(asset)]


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


def is_due(asset: StoredAsset, feed: Feed, now: datetime, round_every: timedelta) -> bool:
    """True if a refresh may bring something newer and its time is nearer to this round than to the
    next one.

    An asset's last refresh came some time after the round that asked for it: without this slack
    one whose own interval is that of the rounds would be asked for in every second round only.
    """
    if is_current(asset, feed, now):
        return False
    every, last = asset.update_frequency_seconds, _observed_at(asset)
    if every is None or last is None:
        return True
    return now - last >= timedelta(seconds=every) - round_every / 2


def calls_for(assets: Iterable[StoredAsset], feed: Feed, now: datetime) -> int:
    """How many calls it takes to refresh those of the assets that can be newer at `now`."""
    count = sum(not is_current(asset, feed, now) for asset in assets)
    return -(-count // feed.max_tickers)


def utc_from_ms(ms: int) -> datetime:
    """Milliseconds since 1970 as an aware datetime."""
    return datetime.fromtimestamp(ms / 1000, UTC)


def _observed_at(asset: StoredAsset) -> datetime | None:
    return None if asset.observed_at_ms is None else utc_from_ms(asset.observed_at_ms)
