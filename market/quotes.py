"""What a feed found out, in our own words: prices, bars, and what was not there.

Plain data. Prices are Decimal, as the provider sent them; instants are aware and in UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum


class Basis(StrEnum):
    """The figure of an answer that a price was taken from."""

    QUOTE = "quote"  # halfway between bid and ask
    TRADE = "trade"
    MINUTE = "minute"  # close of the last minute
    SESSION = "session"  # close of the day so far
    BAR = "bar"  # close of the newest five-minute bar


class Delay(StrEnum):
    """How far behind the market a price is by the nature of its source."""

    REAL_TIME = "real_time"
    DELAYED = "delayed"  # some minutes, by the provider's own word
    END_OF_DAY = "end_of_day"  # the newest completed day


@dataclass(frozen=True, slots=True)
class Price:
    """The latest price of one asset. `as_of` is when the market said so, not when we asked."""

    last: Decimal
    as_of: datetime
    source: str
    delay: Delay
    bid: Decimal | None = None
    ask: Decimal | None = None
    daily_open: Decimal | None = None
    daily_high: Decimal | None = None
    daily_low: Decimal | None = None
    daily_close: Decimal | None = None
    basis: Basis = Basis.QUOTE
    supported: bool = True
    """Something else in the answer says the same. A price that stands alone and is far from the one
    that is stored is suspect."""


@dataclass(frozen=True, slots=True)
class Bar:
    """Five completed minutes of one asset, from `start` on. Forex volume counts quotes."""

    start: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    vwap: Decimal | None = None
    trades: int | None = None


@dataclass(frozen=True, slots=True)
class Dropped:
    """A row of an answer that is no bar. `start` names it where that much can be read."""

    start: datetime | None
    why: str

    def __str__(self) -> str:
        return f"{self.start.isoformat() if self.start else 'a row'}: {self.why}"


@dataclass(frozen=True, slots=True)
class DaysAsked:
    """The UTC days of which all bars were asked for. `cut`: the answer ended before they did, and
    holds the oldest ones."""

    first: date
    last: date
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Observation:
    """What one call learned about one ticker. Bars are in order of time, and often none."""

    ticker: str
    price: Price
    bars: tuple[Bar, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    daily: tuple[Bar, ...] = ()
    """Bars of UTC days, each from its first instant on."""
    asked: DaysAsked | None = None


@dataclass(frozen=True, slots=True)
class Missing:
    """A ticker without a usable price inside an answer that is otherwise good.

    permanent: the provider says that it does not know the ticker; asking again soon is useless.
    not_entitled: this feed is not in the plan for this ticker.
    elsewhere: this feed does not have the ticker, or not in this plan; another one may.
    asked: the days of which no bar came."""

    ticker: str
    reason: str
    permanent: bool = False
    not_entitled: bool = False
    elsewhere: bool = False
    asked: DaysAsked | None = None
    dropped: tuple[Dropped, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of one HTTP request for some tickers, each key of both maps one of them.

    A ticker in neither map was not answered: the provider cut the answer into pages
    (`cut_short`). Ask for it again in a call of its own; the next page's URL is never followed, so
    that the key cannot go elsewhere."""

    observations: Mapping[str, Observation]
    missing: Mapping[str, Missing] = field(default_factory=dict)
    cut_short: bool = False
