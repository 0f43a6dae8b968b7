"""The ways to ask for prices, in order of worth, each exactly one HTTP request.

1. `snapshot_v3`: up to 250 tickers of any market in one call, live. Paid plans.
2. `snapshot`: one ticker, live.
3. `aggregates`: five-minute bars of one ticker. On an end-of-day plan those of the newest completed
   day, and the last of them is the newest price that such a plan can give.

Bars: only `aggregates` brings any. The minute inside a snapshot covers one minute of five, and a
day's figures cover more, so neither is ever passed off as a five-minute bar; assets that are
refreshed from snapshots get their bars from a call to `aggregates` of their own. A bar that is
still forming is left out as well: it would stand in the table as if it were complete.

Prices: the first that comes with a time of its own. Forex: halfway between bid and ask; crypto: the
last trade; else the close of the last minute, else that of the day so far. A zero is not a price,
and a price without a time is not used: nobody could tell whether it is newer than the stored one.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final, Protocol

from market.aggregates import Aggregates
from market.client import MarketClient
from market.deadline import SendDeadline
from market.freshness import newest_allowed_day, nothing_newer
from market.quotes import Answer, Delay
from market.snapshots import Snapshot, SnapshotV3
from market.tiers import Plan

__all__ = [
    "FEEDS",
    "Aggregates",
    "Feed",
    "Snapshot",
    "SnapshotV3",
    "choose_feed",
    "feeds_for",
    "newest_allowed_day",
    "nothing_newer",
]


class Feed(Protocol):
    """A way to ask for prices. `max_tickers` is how many one call can take."""

    @property
    def name(self) -> str: ...
    @property
    def max_tickers(self) -> int: ...
    @property
    def delay(self) -> Delay: ...

    def fetch(
        self,
        client: MarketClient,
        tickers: Sequence[str],
        *,
        now: datetime,
        deadline: SendDeadline,
        cursor: str | None = None,
    ) -> Answer:
        """One HTTP request for 1 to `max_tickers` tickers; `now` is the instant of its grant.

        Raises MarketError where the call as a whole failed, InvalidTicker (nothing was sent)
        where no ticker could be asked for; what concerns one ticker of several is a Missing in
        the answer."""
        ...


FEEDS: Final[tuple[Feed, ...]] = (SnapshotV3(), Snapshot(), Aggregates())
"""All feeds, the best first, for a plan of which nothing is known."""


def feeds_for(plan: Plan) -> tuple[Feed, ...]:
    """The feeds in order of worth; a plan that is not end-of-day may ask for today's bars too."""
    return (SnapshotV3(), Snapshot(), Aggregates(end_of_day=plan.end_of_day))


def choose_feed(refused: Collection[str], feeds: Sequence[Feed] = FEEDS) -> Feed:
    """The first feed whose name is not among those refused; if all are, the last one."""
    return next((feed for feed in feeds if feed.name not in refused), feeds[-1])
