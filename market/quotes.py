"""What a feed found out, in our own words: prices, bars, and what was not there.

Plain data. Prices are Decimal, as the provider sent them; instants are aware and in UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum


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
class Observation:
    """What one call learned about one ticker; bars are in order of time, and often none."""

    ticker: str
    price: Price
    bars: tuple[Bar, ...] = ()


@dataclass(frozen=True, slots=True)
class Missing:
    """A ticker without a usable price inside an answer that is otherwise good.

    permanent: the provider says that it does not know the ticker; asking again soon is useless.
    not_entitled: this feed is not in the plan for this ticker, another feed may be."""

    ticker: str
    reason: str
    permanent: bool = False
    not_entitled: bool = False


@dataclass(frozen=True, slots=True)
class Answer:
    """The outcome of one HTTP request for some tickers, each key of both maps one of them.

    A ticker in neither map was not answered: the provider cut the answer into pages
    (`cut_short`). Ask for it again in a call of its own; the next page's URL is never followed, so
    that the key cannot go elsewhere."""

    observations: Mapping[str, Observation]
    missing: Mapping[str, Missing] = field(default_factory=dict)
    cut_short: bool = False
