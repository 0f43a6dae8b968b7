"""What every feed is: a way to ask for prices, with the facts that decide how it is used."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from market.client import MarketClient
from market.deadline import SendDeadline
from market.quotes import Answer, Delay, Missing, Observation
from market.reading import answer_of
from market.tickers import market_of


class Feed(ABC):
    """A way to ask for prices, each call exactly one HTTP request."""

    name: ClassVar[str]
    max_tickers: ClassVar[int] = 1
    """How many tickers one call takes."""
    worth_from: ClassVar[int] = 1
    """From how many tickers on, which are wanted at once, a call is worth it."""
    brings_bars: ClassVar[bool] = False
    """Five-minute bars come with the prices."""
    not_found_is_final: ClassVar[bool] = False
    """A 404 for a ticker means that the provider will not know it later either."""
    last_resort: ClassVar[bool] = False
    """There is nothing to fall back to where the plan refuses it."""

    @property
    @abstractmethod
    def delay(self) -> Delay:
        """How far behind the market its prices are."""

    @abstractmethod
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

    def serves(self, ticker: str, now: datetime) -> bool:
        """Whether the newest price of this ticker can be had here at `now`."""
        return True

    def together(self, ticker: str) -> str:
        """Names the tickers that can share a call with this one: those of the same name."""
        return ""

    def calls_for(self, tickers: Sequence[str]) -> int:
        """How many calls the tickers take."""
        return -(-len(tickers) // self.max_tickers)

    def check_count(self, tickers: Sequence[str]) -> None:
        """Raises ValueError for more tickers than a call takes, or none."""
        if not 1 <= len(tickers) <= self.max_tickers:
            raise ValueError(f"{len(tickers)} tickers for a call that takes {self.max_tickers}")


@dataclass(frozen=True)
class MarketRows(ABC):
    """An answer about a whole market as it came: each ticker is read when it is asked for."""

    market: str
    rows: Mapping[str, Any]

    def read(self, tickers: Sequence[str], now: datetime) -> Answer:
        """The prices of those of the tickers that are of this market; the others were not asked
        for. `now` is the instant of the grant of the call that brought the rows."""
        mine = [ticker for ticker in tickers if market_of(ticker) == self.market]
        found = [self.read_one(ticker, self.rows.get(ticker), now) for ticker in mine]
        return answer_of(found, cut_short=len(mine) < len(tickers))

    @abstractmethod
    def read_one(self, ticker: str, row: Any, now: datetime) -> Observation | Missing:
        """What a row says; None: there is none."""

    @abstractmethod
    def are_new_for(self, feed: Feed, ticker: str, seen_at: datetime, *, waited: bool) -> bool:
        """True if a call of this feed that sees the market as of `seen_at` would bring nothing
        newer. `waited`: its ticker was asked for before the rows were."""


class MarketFeed(Feed):
    """A feed whose answer is about a whole market, forex or crypto: that of the first ticker."""

    def together(self, ticker: str) -> str:
        """The market."""
        return market_of(ticker)

    def calls_for(self, tickers: Sequence[str]) -> int:
        """One for each market."""
        return len({market_of(ticker) for ticker in tickers})

    def fetch(
        self,
        client: MarketClient,
        tickers: Sequence[str],
        *,
        now: datetime,
        deadline: SendDeadline,
    ) -> Answer:
        """The prices of the tickers of the first one's market; the others are another call's."""
        self.check_count(tickers)
        return self.fetch_rows(client, tickers[0], now=now, deadline=deadline).read(tickers, now)

    @abstractmethod
    def fetch_rows(
        self, client: MarketClient, ticker: str, *, now: datetime, deadline: SendDeadline
    ) -> MarketRows:
        """The rows of the ticker's market. One HTTP request; raises MarketError."""
