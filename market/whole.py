"""The feed of a whole market's live prices: two calls for any number of assets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from market.client import MarketClient
from market.deadline import SendDeadline
from market.feed import MarketFeed
from market.quotes import Answer, Delay, Missing, Observation
from market.reading import answer_of, rows_by_ticker, said_status
from market.snapshots import read_snapshot
from market.tickers import check_ticker, market_of

_NOT_THERE = "not in the snapshot of its market"


@dataclass(frozen=True)
class MarketRows:
    """The snapshot of a market as it came: each ticker is read when it is asked for."""

    market: str
    rows: Mapping[str, Any]
    delay: Delay

    def read(self, tickers: Sequence[str], now: datetime) -> Answer:
        """The prices of those of the tickers that are of this market; the others were not asked
        for. `now` is the instant of the grant of the call that brought the rows."""
        mine = [ticker for ticker in tickers if market_of(ticker) == self.market]
        return answer_of(
            (self._read(ticker, now) for ticker in mine), cut_short=len(mine) < len(tickers)
        )

    def _read(self, ticker: str, now: datetime) -> Observation | Missing:
        row = self.rows.get(ticker)
        if row is None:
            return Missing(ticker, _NOT_THERE, elsewhere=True)
        return read_snapshot(ticker, row, source=WholeMarket.name, delay=self.delay, now=now)


class WholeMarket(MarketFeed):
    """`/v2/snapshot` of all tickers of one market, forex or crypto. Paid plans.

    The answer is large (forex: some 1,200 tickers), so it is worth a call only for more tickers
    than a call of `snapshot_v3` takes. It holds the prices of assets that no claim has taken yet,
    and is kept for them (`MarketRows`)."""

    name: ClassVar[str] = "snapshot_market"
    max_tickers: ClassVar[int] = 500
    worth_from: ClassVar[int] = 251

    @property
    def delay(self) -> Delay:
        """As in `Feed`."""
        return Delay.REAL_TIME

    def fetch(
        self,
        client: MarketClient,
        tickers: Sequence[str],
        *,
        now: datetime,
        deadline: SendDeadline,
    ) -> Answer:
        """As in `Feed`."""
        self.check_count(tickers)
        return self.fetch_rows(client, tickers[0], deadline=deadline).read(tickers, now)

    def fetch_rows(
        self, client: MarketClient, ticker: str, *, deadline: SendDeadline
    ) -> MarketRows:
        """The snapshot of the ticker's market. One HTTP request; raises MarketError."""
        market = market_of(check_ticker(ticker))
        path = f"/v2/snapshot/locale/global/markets/{market}/tickers"
        body = client.get(path, {}, deadline=deadline)
        rows = rows_by_ticker(body.get("tickers"), "ticker")
        delayed = said_status(body) == "DELAYED"
        return MarketRows(market, rows, Delay.DELAYED if delayed else self.delay)
