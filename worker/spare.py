"""Answers about whole markets, at hand for the claims that follow.

A claim takes some hundred items, so that no script holds Redis for long; the answer about a market
holds the prices of all others too. It serves each item once, and those alone for which it is as new
as a call of their own: live prices what waited already when the call was granted, those of a day
all that asks for this day.
"""

import time
from dataclasses import dataclass
from datetime import datetime

from market.feeds import Feed, MarketRows
from market.quotes import Answer
from market.tickers import market_of
from queueing import Claimed
from worker.call import Call
from worker.selection import utc_from_ms
from worker.work import Kind, Work

KEEP_S = 10.0
"""After it came: a slow answer is no worse for those that waited for it."""


@dataclass(frozen=True)
class _Spare:
    rows: MarketRows
    claimed: Claimed
    came_at_s: float
    served: set[str]
    """Names of items. One that is asked for again waits since later, whatever the clocks say."""

    def serves(self, work: Work, feed: Feed, seen_at: datetime) -> bool:
        waited = work.item.enqueued_at_ms <= self.claimed.granted_at_ms
        return (
            work.ticker in self.rows.rows
            and work.item.symbol not in self.served
            and work.item.attempts == 0
            and self.rows.are_new_for(feed, work.ticker, seen_at, waited=waited)
            and time.monotonic() - self.came_at_s <= KEEP_S
        )


class Spares:
    """The newest answer about each market, of one drain."""

    def __init__(self) -> None:
        self._kept: dict[str, _Spare] = {}

    def keep(self, rows: MarketRows, claimed: Claimed) -> None:
        """Keeps what this call brought."""
        self._kept[rows.market] = _Spare(
            rows, claimed, time.monotonic(), {item.symbol for item in claimed.items}
        )

    def answer(self, call: Call, seen_at: datetime) -> Answer | None:
        """What is at hand for the items of this call, without those that it does not serve; None:
        the provider must be asked. The call then says whose answer it is. `seen_at`: the instant
        whose prices the call asks for."""
        prices = [work for work in call.work if work.kind is Kind.PRICE]
        spare = self._kept.get(market_of(prices[0].ticker)) if prices else None
        if spare is None or not spare.serves(prices[0], call.feed, seen_at):
            return None
        call.progress.told_by = spare.claimed
        served = [work for work in prices if spare.serves(work, call.feed, seen_at)]
        spare.served.update(work.item.symbol for work in served)
        tickers = [work.ticker for work in served]
        found = spare.rows.read(tickers, utc_from_ms(spare.claimed.granted_at_ms))
        return Answer(found.observations, found.missing, cut_short=True)
