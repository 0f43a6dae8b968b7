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
from market.quotes import Answer, Delay
from market.snapshots import Snapshot, SnapshotV3
from market.tiers import Plan


class Feed(Protocol):
    """A way to ask for prices, with the facts that decide how it is used.

    max_tickers         how many tickers one call takes.
    delay               how far behind the market its prices are.
    brings_bars         five-minute bars come with the prices.
    not_found_is_final  a 404 for a ticker means that the provider will not know it later either.
    last_resort         there is nothing to fall back to where the plan refuses it.
    """

    @property
    def name(self) -> str: ...
    @property
    def max_tickers(self) -> int: ...
    @property
    def delay(self) -> Delay: ...
    @property
    def brings_bars(self) -> bool: ...
    @property
    def not_found_is_final(self) -> bool: ...
    @property
    def last_resort(self) -> bool: ...

    def fetch(
        self,
        client: MarketClient,
        tickers: Sequence[str],
        *,
        now: datetime,
        deadline: SendDeadline,
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


def price_feed(refused: Collection[str], feeds: Sequence[Feed] = FEEDS) -> Feed:
    """The first feed whose name is not among those refused; if all are, the last resort."""
    return next(feed for feed in feeds if feed.name not in refused or feed.last_resort)


def bars_feed(feeds: Sequence[Feed] = FEEDS) -> Feed:
    """The first feed that brings five-minute bars."""
    return next(feed for feed in feeds if feed.brings_bars)
