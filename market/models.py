"""The provider's answers as they are on the wire.

Lenient where the provider is known to vary (unknown fields, absent or null ones, numbers as text,
times in s, ms, us or ns) and strict where a mistake would become a wrong price: anything that is
not a finite number of sane size is refused. A zero is how the provider says "nothing" - in prices
and in times it becomes None."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final

from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)

_NUMERIC: Final = re.compile(
    r"[+-]?(\d{1,50}(\.\d{0,50})?|\.\d{1,50})([eE][+-]?\d{1,4})?", re.ASCII
)
_LARGEST, _SMALLEST, _MOST_DIGITS = 24, -30, 50
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_CENTURIES: Final = 7  # from 2001 to 2191
_MICROSECONDS: Final = (  # smallest value in that unit (the year 2001), how it becomes microseconds
    (10**18, Decimal("0.001")),
    (10**15, Decimal(1)),
    (10**12, Decimal(10**3)),
    (10**9, Decimal(10**6)),
)


def to_number(value: Any) -> Decimal:
    """An exact Decimal from int, float, Decimal or numeric text; ValueError for all else."""
    known = isinstance(value, int | float | Decimal | str) and not isinstance(value, bool)
    if not known or (isinstance(value, str) and not _NUMERIC.fullmatch(value)):
        raise ValueError("not a number")
    number = Decimal(repr(value) if isinstance(value, float) else value)
    if not number.is_finite():
        raise ValueError("not a finite number")
    size = number.adjusted() if number else 0
    if not _SMALLEST <= size <= _LARGEST or len(number.as_tuple().digits) > _MOST_DIGITS:
        raise ValueError("a number out of all proportion")
    return number


def to_price(value: Any) -> Decimal | None:
    """A positive number; None for nothing and for zero; ValueError for a negative one."""
    if value is None:
        return None
    number = to_number(value)
    if number < 0:
        raise ValueError("a negative price")
    return number or None


def to_instant(value: Any) -> datetime | None:
    """A UTC instant from a count of s, ms, us or ns, told apart by size; None for 0 and null."""
    if value is None:
        return None
    number = to_number(value)
    if not number:
        return None
    for smallest, factor in _MICROSECONDS:
        if smallest <= number < smallest * _CENTURIES:
            return _EPOCH + timedelta(microseconds=int(number * factor))
    raise ValueError("not a time of this century")


def _count(value: Any) -> int | None:
    number = Decimal(0) if value is None else to_number(value)
    if not 0 <= number < 2**31:
        raise ValueError("not a count")
    return None if value is None else int(number)


def _or_empty(value: Any) -> Any:
    return {} if value is None else value


Number = Annotated[Decimal, BeforeValidator(to_number)]
Price = Annotated[Decimal | None, BeforeValidator(to_price)]
Instant = Annotated[datetime | None, BeforeValidator(to_instant)]
Count = Annotated[int | None, BeforeValidator(_count)]


class Wire(BaseModel):
    """Something that the provider sent. Frozen; fields that we do not know are dropped."""

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)


class WireBar(Wire):
    """One bar, of any length: an aggregate, or the day or minute inside a snapshot."""

    open: Price = Field(default=None, validation_alias=AliasChoices("o", "open"))
    high: Price = Field(default=None, validation_alias=AliasChoices("h", "high"))
    low: Price = Field(default=None, validation_alias=AliasChoices("l", "low"))
    close: Price = Field(default=None, validation_alias=AliasChoices("c", "close"))
    volume: Number | None = Field(default=None, validation_alias=AliasChoices("v", "volume"))
    vwap: Price = Field(default=None, validation_alias=AliasChoices("vw", "vwap"))
    trades: Count = Field(default=None, validation_alias=AliasChoices("n", "transactions"))
    start: Instant = Field(default=None, validation_alias=AliasChoices("t"))
    last_updated: Instant = None


class WireQuote(Wire):
    """The last quote: v2 writes a, b, t and v3 writes words."""

    bid: Price = Field(default=None, validation_alias=AliasChoices("b", "bid"))
    ask: Price = Field(default=None, validation_alias=AliasChoices("a", "ask"))
    at: Instant = Field(default=None, validation_alias=AliasChoices("t", "last_updated"))
    timeframe: str | None = None

    @property
    def mid(self) -> Decimal | None:
        """Halfway between bid and ask, None unless both are there."""
        if self.bid is None or self.ask is None:
            return None
        return (self.bid + self.ask) / 2


_TRADE_TIMES: Final = ("t", "participant_timestamp", "sip_timestamp", "last_updated", "timestamp")


class WireTrade(Wire):
    """The last trade: v2 writes p, t and v3 writes words, with one or several of its times."""

    price: Price = Field(default=None, validation_alias=AliasChoices("p", "price"))
    at: Instant = None
    timeframe: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _first_time(cls, data: Any) -> Any:
        """The first time that is there: null and 0 stand where the provider has none."""
        if not isinstance(data, dict):
            return data
        times = (data.get(name) for name in _TRADE_TIMES)
        return data | {"at": next((at for at in times if at not in (None, 0, "", "0")), None)}


class WireSession(WireBar):
    """The day so far in a v3 snapshot."""

    price: Price = None


Bar = Annotated[WireBar, BeforeValidator(_or_empty)]
Session = Annotated[WireSession, BeforeValidator(_or_empty)]
Quote = Annotated[WireQuote, BeforeValidator(_or_empty)]
Trade = Annotated[WireTrade, BeforeValidator(_or_empty)]


class SnapshotItem(Wire):
    """One ticker of a v3 snapshot, or the reason why it is not there."""

    ticker: str
    error: str | None = None
    message: str | None = None
    session: Session = WireSession()
    last_quote: Quote = WireQuote()
    last_trade: Trade = WireTrade()
    last_minute: Bar = WireBar()


class TickerSnapshot(Wire):
    """The ticker inside a v2 single-ticker snapshot."""

    ticker: str
    updated: Instant = None
    day: Bar = WireBar()
    minute: Bar = Field(default=WireBar(), validation_alias="min")
    last_quote: Quote = Field(default=WireQuote(), validation_alias="lastQuote")
    last_trade: Trade = Field(default=WireTrade(), validation_alias="lastTrade")


class Envelope(Wire):
    """What surrounds every answer. Results are read one by one: a bad one must not spoil the
    others of the same call."""

    status: str | None = None
    ticker: Any = None
    results: list[Any] | None = None
    next_url: str | None = None
    query_count: Any = Field(default=None, validation_alias=AliasChoices("queryCount"))
