"""Answers about whole markets, at hand for the claims that follow.

A claim takes some hundred items, so that no script holds Redis for long; the answer about a market
holds the prices of all others too. It serves each item once, and those alone that
waited already when its call was granted: for them it is as new as one of their own.
"""

import time
from dataclasses import dataclass

from market.feeds import MarketRows
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

    def serves(self, work: Work) -> bool:
        asked_ms, granted_ms = work.item.enqueued_at_ms, self.claimed.granted_at_ms
        return (
            work.ticker in self.rows.rows
            and work.item.symbol not in self.served
            and work.item.attempts == 0
            and asked_ms <= granted_ms
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

    def answer(self, call: Call) -> Answer | None:
        """What is at hand for the items of this call, without those that it does not serve; None:
        the provider must be asked. The call then says whose answer it is."""
        prices = [work for work in call.work if work.kind is Kind.PRICE]
        spare = self._kept.get(market_of(prices[0].ticker)) if prices else None
        if spare is None or not spare.serves(prices[0]):
            return None
        call.progress.told_by = spare.claimed
        served = [work for work in prices if spare.serves(work)]
        spare.served.update(work.item.symbol for work in served)
        tickers = [work.ticker for work in served]
        found = spare.rows.read(tickers, utc_from_ms(spare.claimed.granted_at_ms))
        return Answer(found.observations, found.missing, cut_short=True)
