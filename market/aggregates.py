"""The feed of five-minute bars, the only one that a free plan allows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import ClassVar, Final

from market.client import MarketClient
from market.coverage import CALL_MINUTES
from market.deadline import SendDeadline
from market.errors import BadAnswer, NotYetPublished, OutsidePlan
from market.feed import Feed
from market.freshness import newest_allowed_day
from market.models import Envelope
from market.quotes import Answer, DaysAsked, Delay, Missing, Observation
from market.reading import (
    answer_of,
    only_ticker,
    price_of,
    read_bars,
    read_envelope,
    said_status,
)
from market.tickers import asset_kind

_DAY: Final = timedelta(days=1)
_DAYS_FOR_A_PRICE: Final = 5
"""Longer than any closure of a forex market that is no weekend: Christmas, New Year, Easter."""


@dataclass(frozen=True, slots=True)
class Aggregates(Feed):
    """Five-minute bars of one ticker, in order of time.

    `end_of_day`: up to the newest completed trading day, else up to now. For a price the range
    begins some days before: where the newest day was a holiday, the session before it is the price,
    and the provider sometimes answers too narrow a range with nothing. The price is the last bar's
    close, as of that bar's end; the day's figures are of that bar's UTC day."""

    end_of_day: bool = True
    name: ClassVar[str] = "aggregates"
    brings_bars: ClassVar[bool] = True
    not_found_is_final: ClassVar[bool] = True
    last_resort: ClassVar[bool] = True

    @property
    def delay(self) -> Delay:
        """As in `Feed`."""
        return Delay.END_OF_DAY if self.end_of_day else Delay.REAL_TIME

    def fetch(
        self,
        client: MarketClient,
        tickers: Sequence[str],
        *,
        now: datetime,
        deadline: SendDeadline,
    ) -> Answer:
        """As in `Feed`."""
        ticker = only_ticker(tickers)
        newest = self.newest_day(ticker, now)
        first = newest - timedelta(days=_DAYS_FOR_A_PRICE - 1)
        return self.fetch_days(client, ticker, first, newest, now=now, deadline=deadline)

    def newest_day(self, ticker: str, now: datetime) -> date:
        """The newest UTC day that this feed can have bars of at `now`."""
        seen_from = now if self.end_of_day else now + _DAY  # today has begun
        return newest_allowed_day(seen_from, asset_kind(ticker))

    def fetch_days(
        self,
        client: MarketClient,
        ticker: str,
        first: date,
        last: date,
        *,
        now: datetime,
        deadline: SendDeadline,
    ) -> Answer:
        """One HTTP request for all bars of these UTC days, at most `days_per_call` of them.

        The answer tells what was asked and whether it was cut, also where no bar came. Raises
        MarketError, NotYetPublished where the newest day is still to come."""
        path = f"/v2/aggs/ticker/{ticker}/range/5/minute/{first}/{last}"
        params = {"adjusted": "true", "sort": "asc", "limit": str(CALL_MINUTES)}
        try:
            body = client.get(path, params, deadline=deadline)
        except OutsidePlan as exc:
            if last < self.newest_day(ticker, now):  # history beyond the plan
                raise
            raise NotYetPublished(exc.message, status=exc.status) from None
        envelope = read_envelope(body)
        if envelope.ticker not in (None, ticker):
            raise BadAnswer("the answer is about another ticker", status=200)
        bars, dropped = read_bars(ticker, envelope.results or (), now)
        asked = DaysAsked(first, last, cut=_was_cut(envelope))
        if not bars:
            why = f"no bars from {first} to {last}"
            return answer_of([Missing(ticker, why, asked=asked, dropped=dropped)])
        delayed = not self.end_of_day and said_status(body) == "DELAYED"
        price = price_of(bars, self.name, Delay.DELAYED if delayed else self.delay)
        return answer_of([Observation(ticker, price, bars, dropped, asked=asked)])


def _was_cut(envelope: Envelope) -> bool:
    """There is a next page, or the provider used up what one call gives."""
    used = envelope.query_count
    return bool(envelope.next_url) or (isinstance(used, int) and used >= CALL_MINUTES)
