"""The ways to ask for prices, in order of worth, each exactly one HTTP request.

1. `snapshot_market`: all tickers of a market in one call, live: forex or crypto. Paid plans, where
   more than 250 are wanted at once.
2. `snapshot_v3`: up to 250 tickers of any market in one call, live. Paid plans.
3. `snapshot`: one ticker, live.
4. `grouped`: the daily bars of a whole market, forex or crypto. End-of-day plans.
5. `aggregates`: five-minute bars of one ticker, up to the newest completed day on an end-of-day
   plan, and the last of them is the newest price that such a plan can give.

Bars: only `aggregates` brings any. The minute inside a snapshot covers one minute of five, and a
day's figures cover more, so neither is ever passed off as a five-minute bar; assets that are
refreshed from snapshots get their bars from a call to `aggregates` of their own. A bar that is
still forming is left out as well: it would stand in the table as if it were complete.

Prices: the first that comes with a time of its own. Forex: halfway between bid and ask; crypto: the
last trade; else the close of the last minute, else that of the day so far. A zero is not a price,
and a price without a time is not used: it cannot be compared with the stored one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from market.aggregates import Aggregates
from market.feed import Feed, MarketFeed, MarketRows
from market.grouped import Grouped
from market.snapshots import Snapshot, SnapshotV3
from market.tiers import Plan
from market.whole import SnapshotRows, WholeMarket

__all__ = [
    "FEEDS",
    "Aggregates",
    "Feed",
    "MarketFeed",
    "MarketRows",
    "SnapshotRows",
    "WholeMarket",
    "feeds_for",
    "price_feeds",
]

FEEDS: Final[tuple[Feed, ...]] = (SnapshotV3(), Snapshot(), Grouped(), Aggregates())
"""All feeds, the best first, for a plan of which nothing is known."""


def feeds_for(plan: Plan) -> tuple[Feed, ...]:
    """The feeds in order of worth. A plan that is not end-of-day may ask for today's bars too, and
    has no use for the day before of a whole market."""
    if plan.end_of_day:
        return FEEDS
    return (WholeMarket(), SnapshotV3(), Snapshot(), Aggregates(end_of_day=False))


def price_feeds(refused: Collection[str], feeds: Sequence[Feed] = FEEDS) -> list[Feed]:
    """The feeds that are not refused, the best first; if all are, the last resort alone."""
    return [feed for feed in feeds if feed.name not in refused or feed.last_resort]


def bars_feed(feeds: Sequence[Feed] = FEEDS) -> Aggregates:
    """The feed that brings five-minute bars."""
    return next(feed for feed in feeds if isinstance(feed, Aggregates))
