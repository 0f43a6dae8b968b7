"""Whether a call can bring anything newer than what is stored, so that none is spent in vain."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Protocol

from market.hours import is_open, last_close, last_trading_day, sessions_on
from market.quotes import Delay
from market.tickers import AssetKind, asset_kind

CLOSE_SLACK: Final = timedelta(minutes=15)
"""The last price of a week may be this much older than the close, and closes differ a little."""


class Source(Protocol):
    """As much of a feed as matters here."""

    @property
    def name(self) -> str: ...
    @property
    def delay(self) -> Delay: ...


def newest_allowed_day(now: datetime, kind: AssetKind) -> date:
    """The newest UTC day that an end-of-day plan gives: completed, and with trading in it.

    Until some hours into the next day the provider may answer that it is not published yet."""
    return last_trading_day(kind, now.astimezone(UTC).date())


def day_before(now: datetime) -> datetime:
    """The last instant of the UTC day before `now`."""
    midnight = datetime.combine(now.astimezone(UTC).date(), time.min, UTC)
    return midnight - timedelta(microseconds=1)


def nothing_newer(
    ticker: str,
    stored_as_of: datetime | None,
    feed: Source,
    now: datetime,
    *,
    observed_at: datetime | None = None,
    day_settled: bool = False,
) -> bool:
    """Whether the stored price is already the newest that this feed can give at `now`.

    True where the market is closed and its last price is stored, and on end-of-day data where the
    close of the newest allowed day is. What settles the case of a thinly traded asset, whose last
    price is much older than the close: `observed_at`, when the stored price was fetched, or
    `day_settled`, that the newest day's bars need no call."""
    if stored_as_of is None:
        return False
    if feed.delay is Delay.END_OF_DAY:
        newest = newest_allowed_day(now, asset_kind(ticker))
        _, ended_at = sessions_on(asset_kind(ticker), newest)[-1]
        return day_settled or stored_as_of >= ended_at - CLOSE_SLACK
    if is_open(ticker, now):
        return False
    closed_at = last_close(ticker, now)
    if closed_at is None:
        return False
    fetched_after = observed_at is not None and observed_at >= closed_at + CLOSE_SLACK
    return fetched_after or stored_as_of >= closed_at - CLOSE_SLACK
