"""The feed of five-minute bars, the only one that a free plan allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import ClassVar

from market.client import MarketClient
from market.deadline import SendDeadline
from market.errors import BadAnswer
from market.freshness import newest_allowed_day
from market.quotes import Answer, Delay, Missing, Observation
from market.reading import (
    answer_of,
    only_ticker,
    price_of,
    read_bars,
    read_envelope,
    said_status,
)
from market.tickers import AssetKind, asset_kind


@dataclass(frozen=True, slots=True)
class Aggregates:
    """Five-minute bars of one ticker, newest first on the wire, in order of time in the answer.

    `end_of_day`: up to the newest completed trading day, else up to now. The range begins one
    trading day earlier than needed where the newest day is a forex Sunday of two or three hours, or
    has only begun, since the provider sometimes answers too narrow a range with nothing. The price
    is the last bar's close, as of that bar's end; the day's figures are of that bar's UTC day."""

    end_of_day: bool = True
    name: ClassVar[str] = "aggregates"
    max_tickers: ClassVar[int] = 1
    brings_bars: ClassVar[bool] = True
    not_found_is_final: ClassVar[bool] = True
    last_resort: ClassVar[bool] = True

    @property
    def delay(self) -> Delay:
        return Delay.END_OF_DAY if self.end_of_day else Delay.REAL_TIME

    def fetch(
        self,
        client: MarketClient,
        tickers: Sequence[str],
        *,
        now: datetime,
        deadline: SendDeadline,
    ) -> Answer:
        ticker = only_ticker(tickers)
        first, last = self.days(asset_kind(ticker), now)
        path = f"/v2/aggs/ticker/{ticker}/range/5/minute/{first}/{last}"
        params = {"adjusted": "true", "sort": "desc", "limit": "50000"}
        body = client.get(path, params, deadline=deadline)
        envelope = read_envelope(body)
        if envelope.ticker not in (None, ticker):
            raise BadAnswer("the answer is about another ticker", status=200)
        bars = read_bars(ticker, envelope.results or (), now)
        if not bars:
            return answer_of([Missing(ticker, f"no bars from {first} to {last}")])
        delayed = not self.end_of_day and said_status(body) == "DELAYED"
        price = price_of(bars, self.name, Delay.DELAYED if delayed else self.delay)
        return answer_of([Observation(ticker, price, bars)])

    def days(self, kind: AssetKind, now: datetime) -> tuple[str, str]:
        """First and last UTC day of the range to ask for, as YYYY-MM-DD."""
        newest = newest_allowed_day(now, kind)
        first = newest
        if kind is not AssetKind.CRYPTO and newest.weekday() == 6:
            first = newest - timedelta(days=2)  # a Sunday has its last hours only; Friday is whole
        last = newest if self.end_of_day else now.astimezone(UTC).date()
        return first.isoformat(), last.isoformat()
