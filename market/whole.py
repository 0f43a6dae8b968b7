"""The feed of a whole market's live prices: two calls for any number of assets."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from market.client import MarketClient
from market.deadline import SendDeadline
from market.feed import Feed, MarketFeed, MarketRows
from market.quotes import Delay, Missing, Observation
from market.reading import rows_by_ticker, said_status
from market.snapshots import read_snapshot
from market.tickers import check_ticker, market_of

_NOT_THERE = "not in the snapshot of its market"


@dataclass(frozen=True)
class SnapshotRows(MarketRows):
    """The snapshot of a market."""

    delay: Delay

    def read_one(self, ticker: str, row: Any, now: datetime) -> Observation | Missing:
        """As in `MarketRows`."""
        if row is None:
            return Missing(ticker, _NOT_THERE, elsewhere=True)
        return read_snapshot(ticker, row, source=WholeMarket.name, delay=self.delay, now=now)

    def are_new_for(self, feed: Feed, ticker: str, seen_at: datetime, *, waited: bool) -> bool:
        """For what waited already: for that they are as new as a call of its own."""
        return waited and feed.delay is not Delay.END_OF_DAY


class WholeMarket(MarketFeed):
    """`/v2/snapshot` of all tickers of one market, forex or crypto. Paid plans.

    The answer is large (forex: some 1,200 tickers), so it is worth a call only for more tickers
    than a call of `snapshot_v3` takes. It holds the prices of assets that no claim has taken yet,
    and is kept for them (`SnapshotRows`)."""

    name: ClassVar[str] = "snapshot_market"
    max_tickers: ClassVar[int] = 500
    worth_from: ClassVar[int] = 251

    @property
    def delay(self) -> Delay:
        """As in `Feed`."""
        return Delay.REAL_TIME

    def fetch_rows(
        self, client: MarketClient, ticker: str, *, now: datetime, deadline: SendDeadline
    ) -> SnapshotRows:
        """As in `MarketFeed`."""
        market = market_of(check_ticker(ticker))
        path = f"/v2/snapshot/locale/global/markets/{market}/tickers"
        body = client.get(path, {}, deadline=deadline)
        rows = rows_by_ticker(body.get("tickers"), "ticker")
        delayed = said_status(body) == "DELAYED"
        return SnapshotRows(market, rows, Delay.DELAYED if delayed else self.delay)
