"""The feed of a whole market's day: the prices of an end-of-day plan in one call a market."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, ClassVar, Final

from pydantic import ValidationError

from market.client import MarketClient
from market.coverage import PUBLISHED_BY
from market.deadline import SendDeadline
from market.errors import NoTrading, NotYetPublished, OutsidePlan
from market.feed import Feed, MarketFeed, MarketRows
from market.freshness import newest_allowed_day
from market.hours import sessions_on
from market.models import WireBar
from market.quotes import Bar, Basis, Delay, Missing, Observation, Price
from market.reading import malformed, ohlc_of, read_envelope, rows_by_ticker
from market.tickers import asset_kind, check_ticker, market_of

_SUNDAY: Final = 6
_MARKETS: Final = {"forex": "fx", "crypto": "crypto"}


@dataclass(frozen=True)
class DayRows(MarketRows):
    """The daily bars of a market."""

    day: date

    def read_one(self, ticker: str, row: Any, now: datetime) -> Observation | Missing:
        """As in `MarketRows`."""
        return _read(ticker, row, self.day)

    def are_new_for(self, feed: Feed, ticker: str, seen_at: datetime, *, waited: bool) -> bool:
        """As long as their day is the newest: it is over, and does not change."""
        newest = newest_allowed_day(seen_at, asset_kind(ticker))
        return feed.name == Grouped.name and newest == self.day


class Grouped(MarketFeed):
    """`/v2/aggs/grouped`: the daily bar of every ticker of one market, forex or crypto.

    One call takes tickers of both markets and answers for the first one's; the others are left for
    a call of their own. The price is the day's close, as of the end of its last session. A day that
    is refused is not published yet; one without any row was a holiday. Sundays, which are a
    few hours of forex, have no rows: `serves` says so."""

    name: ClassVar[str] = "grouped"
    max_tickers: ClassVar[int] = 500

    @property
    def delay(self) -> Delay:
        """As in `Feed`."""
        return Delay.END_OF_DAY

    def serves(self, ticker: str, now: datetime) -> bool:
        """Whether the newest day of this ticker can be had here."""
        kind = asset_kind(ticker)
        return market_of(ticker) == "crypto" or newest_allowed_day(now, kind).weekday() != _SUNDAY

    def fetch_rows(
        self, client: MarketClient, ticker: str, *, now: datetime, deadline: SendDeadline
    ) -> DayRows:
        """The newest day of the ticker's market. One HTTP request; raises MarketError."""
        market = market_of(check_ticker(ticker))
        day = newest_allowed_day(now, asset_kind(ticker))
        path = f"/v2/aggs/grouped/locale/global/market/{_MARKETS[market]}/{day}"
        try:
            body = client.get(path, {"adjusted": "true"}, deadline=deadline)
        except OutsidePlan as exc:  # the newest day is in every plan, once it is published
            raise NotYetPublished(exc.message, status=exc.status) from None
        rows = rows_by_ticker(read_envelope(body).results, "T")
        if not rows:
            midnight = datetime.combine(day + timedelta(days=1), time.min, UTC)
            if now < midnight + PUBLISHED_BY:
                raise NotYetPublished(f"{market} has no rows of {day} yet", status=200)
            raise NoTrading(f"{market} did not trade on {day}", day=day)
        return DayRows(market, rows, day)


def _read(ticker: str, row: Any, day: date) -> Observation | Missing:
    if row is None:
        return Missing(ticker, f"not among the rows of {day}", elsewhere=True)
    try:
        # Its time is none of the day's: the last trade's, the day's end, or odd.
        bar = WireBar.model_validate({k: v for k, v in row.items() if k != "t"})
    except ValidationError as exc:
        return Missing(ticker, malformed(exc), elsewhere=True)
    ohlc = ohlc_of(bar)
    if ohlc is None:
        return Missing(ticker, f"its bar of {day} cannot be true", elsewhere=True)
    open_, high, low, close = ohlc
    _, closes = sessions_on(asset_kind(ticker), day)[-1]
    price = Price(
        last=close,
        as_of=closes,
        source=Grouped.name,
        delay=Delay.END_OF_DAY,
        daily_open=open_,
        daily_high=high,
        daily_low=low,
        daily_close=close,
        basis=Basis.SESSION,
        supported=False,  # all its figures are of the same ticks
    )
    starts = datetime.combine(day, time.min, UTC)
    volume = max(bar.volume or Decimal(0), Decimal(0))
    daily = Bar(starts, open_, high, low, close, volume, bar.vwap, bar.trades)
    return Observation(ticker, price, daily=(daily,))
