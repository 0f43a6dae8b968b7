"""The values written to the database, and the rules they must satisfy."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from operator import attrgetter
from typing import NamedTuple, Protocol

from db.coverage import FIVE_MINUTES, Asked

MAX_TEXT = 500
_MAX_EXPONENT = 30  # far beyond any price or volume, far within the range of numeric
_MAX_DIGITS = 80  # sign, point and exponent included; a file's worth of digits is no price
_YEAR_2100_MS = 4_102_444_800_000
_PRICE_NUMBERS = ("last", "bid", "ask", "daily_open", "daily_high", "daily_low", "daily_close")
_BAR_NUMBERS = ("open", "high", "low", "close", "volume", "vwap")
_PLAIN = re.compile(r"(-?[0-9]{1,30}(\.[0-9]{1,30})?,)*")


class PriceLike(Protocol):
    """A latest price: numbers are Decimal, `as_of` is aware. The provider's own type fits."""

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
    @property
    def basis(self) -> str: ...


class BarLike(Protocol):
    """A bar: numbers are Decimal, `start` is its first instant and aware."""

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


class NewPrice(NamedTuple):
    """A price to store. `furthest`: how far from the stored one it is believed at once, as a part
    of the lower of the two; None: however far."""

    symbol: str
    price: PriceLike
    furthest: Decimal | None = None


@dataclass(frozen=True)
class SymbolRefresh:
    """The part of an API answer that concerns one symbol.

    `bars` are of 5 minutes, `daily` of UTC days. `asked` is the range that the call asked for: it
    becomes coverage, also where no bar came. With `bars_only`, or without a price, the stored
    price and the sync status stay as they are. `source` is that of the bars, else the price's.
    `furthest` is that of NewPrice.
    """

    symbol: str
    price: PriceLike | None
    bars: Sequence[BarLike] = ()
    bars_only: bool = False
    daily: Sequence[BarLike] = ()
    asked: Asked | None = None
    source: str = ""
    furthest: Decimal | None = None

    @property
    def new_price(self) -> NewPrice | None:
        """The price to store; None: it is about bars only."""
        if self.bars_only or self.price is None:
            return None
        return NewPrice(self.symbol, self.price, self.furthest)

    def bars_of(self, timeframe: str) -> Sequence[BarLike]:
        """Its bars of that timeframe."""
        return self.bars if timeframe == FIVE_MINUTES else self.daily


@dataclass(frozen=True)
class CallAudit:
    """One API call. `status` is HTTP's; None: no answer came."""

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
    """The outcome of one write, by symbol.

    `changed`: the stored price is this one. `unchanged`: the stored price is newer.
    `refused`: nothing was written for it, with the reason. `busy`: those of the refused whose row
    another session holds, so that trying again may succeed.
    `suspect`: its price was kept aside, with the reason; everything else of it is written.
    `notes`: bars, sync status and audit rows that the tables refused, in words.
    """

    changed: tuple[str, ...] = ()
    unchanged: tuple[str, ...] = ()
    refused: dict[str, str] = field(default_factory=dict)
    busy: frozenset[str] = frozenset()
    suspect: dict[str, str] = field(default_factory=dict)
    bars_written: int = 0
    notes: tuple[str, ...] = ()


def unstorable_price(price: PriceLike) -> str | None:
    """The reason why a price cannot be stored; None: it can be."""
    return _flaw(price, _PRICE_NUMBERS) or _naive("as_of", price.as_of)


def unstorable_bar(bar: BarLike) -> str | None:
    """The reason why a bar cannot be stored; None: it can be."""
    if bar.trades is not None and not 0 <= bar.trades < 2**63:
        return f"trades is out of range: {bar.trades}"
    return _flaw(bar, _BAR_NUMBERS) or _naive("start", bar.start)


def all_plain(bars: Sequence[BarLike]) -> bool:
    """True if one look at each column shows that all the bars can be stored, as nearly always."""
    for name in _BAR_NUMBERS:
        column = [number for number in map(attrgetter(name), bars) if number is not None]
        if not {*map(type, column)} <= {Decimal} or not _PLAIN.fullmatch(
            ",".join([*map(str, column), ""])
        ):
            return False
    trades = [bar.trades for bar in bars if bar.trades is not None]
    return all(0 <= count < 2**63 for count in trades) and all(bar.start.tzinfo for bar in bars)


def instant_text(moment: datetime) -> str:
    """The one form of an instant in metadata: UTC, microseconds, text order = time order."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")


def instant_of(observed_at_ms: int) -> datetime:
    """The instant of a time in Unix milliseconds, at most that of the year 2100."""
    return datetime.fromtimestamp(min(max(observed_at_ms, 0), _YEAR_2100_MS) / 1000, UTC)


def parse_instant(text: str | None) -> datetime | None:
    """The inverse of `instant_text`; None for a text that names no instant (a 30 February)."""
    if text is None:
        return None
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None


def storable_text(text: str | None) -> str | None:
    """The text without NUL and lone surrogates, which PostgreSQL cannot store, cut to MAX_TEXT."""
    if text is None:
        return None
    return text.replace("\0", "").encode("utf-8", "replace").decode("utf-8")[:MAX_TEXT]


def _flaw(values: object, names: Sequence[str]) -> str | None:
    for name in names:
        number = getattr(values, name)
        if number is not None and not _storable(number):
            return f"{name} is not a number that can be stored: {number!r}"[:MAX_TEXT]
    return None


def _naive(name: str, moment: datetime) -> str | None:
    return None if moment.tzinfo else f"{name} has no time zone: {moment.isoformat()}"


def _storable(number: Decimal) -> bool:
    # A float is refused too: its binary rounding would be stored.
    if not isinstance(number, Decimal) or not number.is_finite():
        return False
    return abs(number.adjusted()) <= _MAX_EXPONENT and len(str(number)) <= _MAX_DIGITS
