"""The rows that go in and out, and what they must look like. Prices are Decimal, times aware."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Protocol

MAX_TEXT = 500
_MAX_EXPONENT = 30  # far beyond any price or volume, far within what numeric can hold


class PriceLike(Protocol):
    """What a price must tell; any object with these attributes will do."""

    @property
    def last(self) -> Decimal: ...
    @property
    def bid(self) -> Decimal | None: ...
    @property
    def ask(self) -> Decimal | None: ...
    @property
    def daily_open(self) -> Decimal | None: ...
    @property
    def daily_high(self) -> Decimal | None: ...
    @property
    def daily_low(self) -> Decimal | None: ...
    @property
    def daily_close(self) -> Decimal | None: ...
    @property
    def as_of(self) -> datetime: ...
    @property
    def source(self) -> str: ...
    @property
    def delay(self) -> str: ...


class BarLike(Protocol):
    """A 5-minute bar; `start` is its first instant."""

    @property
    def start(self) -> datetime: ...
    @property
    def open(self) -> Decimal: ...
    @property
    def high(self) -> Decimal: ...
    @property
    def low(self) -> Decimal: ...
    @property
    def close(self) -> Decimal: ...
    @property
    def volume(self) -> Decimal: ...
    @property
    def vwap(self) -> Decimal | None: ...
    @property
    def trades(self) -> int | None: ...


@dataclass(frozen=True)
class PriceRow:
    """A PriceLike of our own, for callers that have no other."""

    last: Decimal
    as_of: datetime
    source: str
    delay: str
    bid: Decimal | None = None
    ask: Decimal | None = None
    daily_open: Decimal | None = None
    daily_high: Decimal | None = None
    daily_low: Decimal | None = None
    daily_close: Decimal | None = None


@dataclass(frozen=True)
class BarRow:
    """A BarLike of our own."""

    start: datetime
    open: Decimal
    high: Decimal
    low: Decimal
    close: Decimal
    volume: Decimal
    vwap: Decimal | None = None
    trades: int | None = None


@dataclass(frozen=True)
class SymbolRefresh:
    """What one call brought for one symbol."""

    symbol: str
    price: PriceLike
    bars: Sequence[BarLike] = ()
    bars_only: bool = False
    """The price only tells the source of the bars; it and the sync status are left as they are."""


@dataclass(frozen=True)
class CallAudit:
    """One API call, as it went. `status` is HTTP's, None when no answer came."""

    call_id: str
    endpoint: str
    feed: str
    tickers: tuple[str, ...]
    status: int | None
    outcome: str
    started_at: datetime
    latency_ms: int
    error: str | None = None


@dataclass(frozen=True)
class WriteResult:
    """`changed`: the stored price is a new one; `unchanged`: what stands there is as new or newer.

    `refused` names the symbols of which no price was written, with the reason: not in
    trading.symbols, or a value that cannot be stored.
    """

    changed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    refused: dict[str, str] = field(default_factory=dict)
    bars_written: int = 0


def flaw(refresh: SymbolRefresh) -> str | None:
    """Why this cannot be stored, or None. One bad value must not cost the others of its call."""
    price = refresh.price
    numbers: list[tuple[str, Decimal | None]] = [
        ("last_price", price.last),
        ("bid", price.bid),
        ("ask", price.ask),
        ("daily_open", price.daily_open),
        ("daily_high", price.daily_high),
        ("daily_low", price.daily_low),
        ("daily_close", price.daily_close),
    ]
    moments = [("as_of", price.as_of)]
    for bar in refresh.bars:
        numbers += [
            ("open", bar.open),
            ("high", bar.high),
            ("low", bar.low),
            ("close", bar.close),
            ("volume", bar.volume),
            ("vwap", bar.vwap),
        ]
        moments.append(("bar", bar.start))
        if bar.trades is not None and not 0 <= bar.trades < 2**63:
            return f"trades is out of range: {bar.trades}"
    for name, number in numbers:
        if number is not None and not _storable(number):
            return f"{name} is not a number that can be stored: {number!r}"[:MAX_TEXT]
    for name, moment in moments:
        if moment.tzinfo is None:
            return f"{name} has no time zone: {moment.isoformat()}"
    return None


def instant(moment: datetime) -> str:
    """The one form of an instant in metadata: UTC, microseconds, text order = time order."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def parse_instant(text: str | None) -> datetime | None:
    """The opposite; None for what is no instant, such as a 30 February that a user wrote."""
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def storable_text(text: str | None) -> str | None:
    """Without what PostgreSQL cannot hold (NUL, lone surrogates), and not endless."""
    if text is None:
        return None
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")[:MAX_TEXT]


def _storable(number: Decimal) -> bool:
    # A float is refused as well: it would carry its rounding into the books.
    if not isinstance(number, Decimal) or not number.is_finite():
        return False
    exponent = number.as_tuple().exponent
    return (
        isinstance(exponent, int)
        and abs(exponent) <= _MAX_EXPONENT
        and number.adjusted() <= _MAX_EXPONENT
    )
