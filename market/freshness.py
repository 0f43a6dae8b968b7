"""Whether a call can bring anything newer than what is stored, so that none is spent in vain."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Final, Protocol

from market.hours import is_open, last_close, last_trading_day
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
    stored_source: str | None,
    feed: Source,
    now: datetime,
    *,
    observed_at: datetime | None = None,
) -> bool:
    """Whether the stored price is already the newest that this feed can give at `now`.

    True where the market is closed and its last price is stored, and on end-of-day data where the
    newest allowed day is stored. `observed_at`, when the stored price was fetched, settles the
    case of a thinly traded asset whose last price is much older than the close."""
    if stored_as_of is None:
        return False
    if feed.delay is Delay.END_OF_DAY:
        return _has_newest_day(ticker, stored_as_of, stored_source == feed.name, now)
    if is_open(ticker, now):
        return False
    closed_at = last_close(ticker, now)
    if closed_at is None:
        return False
    fetched_after = observed_at is not None and observed_at >= closed_at + CLOSE_SLACK
    return fetched_after or stored_as_of >= closed_at - CLOSE_SLACK


def _has_newest_day(ticker: str, as_of: datetime, same_source: bool, now: datetime) -> bool:
    """A completed day never changes, so one bar of it proves that all of it was fetched; a price
    from another source proves only its own instant."""
    newest = newest_allowed_day(now, asset_kind(ticker))
    if same_source:  # a bar that ends at midnight belongs to the day before
        return (as_of.astimezone(UTC) - timedelta(microseconds=1)).date() >= newest
    end = datetime.combine(newest, time.min, UTC) + timedelta(days=1)
    closed_at = None if is_open(ticker, end) else last_close(ticker, end)
    return as_of >= (closed_at or end) - CLOSE_SLACK
