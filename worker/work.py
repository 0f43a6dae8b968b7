"""The work of an asset: how it is asked for, and how a claimed item is understood.

Requests are built and items are parsed here and nowhere else, so this module alone knows the shape
of a payload. Rows of PostgreSQL and items of Redis are not believed unseen: a row of the user's own
table may hold anything, and any writer to Redis may put anything into an item. One that
makes no sense is named and left out; it never holds up the others, and none of it reaches a URL.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

import structlog

from db.symbols import StoredAsset
from market.errors import InvalidTicker
from market.tickers import check_ticker
from queueing import DeadLetter, InvalidRequest, Item, Priority, PriorityQueue, Request
from queueing.wire import checked_symbol

log = structlog.get_logger(__name__)

_BARS = "/5m"
"""Ends the queue's name of an asset's bars, which wait, fail and rest apart from its price."""


class Kind(StrEnum):
    """What is wanted of an asset."""

    PRICE = "price"
    BARS = "bars"  # the five-minute bars of the newest completed day


@dataclass(frozen=True)
class Work:
    """One claimed item that can be asked for."""

    item: Item
    symbol: str
    ticker: str
    kind: Kind


@dataclass(frozen=True)
class Malformed:
    """One claimed item that cannot be asked for, and why."""

    item: Item
    why: str


def price_request(asset: StoredAsset) -> Request:
    """Asks for an asset's price. The queue carries the ticker: all that a refresh needs."""
    return Request(asset.symbol, {"symbol": asset.symbol, "ticker": asset.polygon_ticker})


def bars_request(asset: StoredAsset) -> Request:
    """Asks for an asset's 5-minute bars of the newest completed day: a call of their own."""
    payload = {"symbol": asset.symbol, "ticker": asset.polygon_ticker, "bars": True}
    return Request(f"{asset.symbol}{_BARS}", payload, solo=True)


def names_of(symbol: str) -> tuple[str, str]:
    """The queue's names of an asset's price and of its bars."""
    return symbol, f"{symbol}{_BARS}"


def request_again(letter: DeadLetter) -> Request | None:
    """The request that died; None where its payload was lost, or is of a newer version."""
    if letter.version > PriorityQueue.item_version or "ticker" not in letter.payload:
        return None
    return Request(letter.symbol, letter.payload, solo=bool(letter.payload.get("bars")))


def is_bars(name: str) -> bool:
    """True for the queue's name of an asset's bars, false for that of its price."""
    return name.endswith(_BARS)


def bars_name(symbol: str) -> str:
    """The queue's name of an asset's bars."""
    return f"{symbol}{_BARS}"


def asset_of(name: str) -> str:
    """The symbol of the asset that the queue's name of an item is about."""
    return name.removesuffix(_BARS)


def parse(item: Item) -> Work | Malformed:
    """What a claimed item asks for."""
    payload = item.payload
    symbol, ticker = payload.get("symbol", item.symbol), payload.get("ticker")
    if not isinstance(ticker, str) or not isinstance(symbol, str):
        return Malformed(item, "its payload in Redis holds no ticker")
    kind = Kind.BARS if payload.get("bars") else Kind.PRICE
    if item.symbol != (f"{symbol}{_BARS}" if kind is Kind.BARS else symbol):
        return Malformed(item, f"its payload in Redis is about {symbol[:40]!r}")
    if type(item.priority) is not int or item.priority not in set(Priority):
        return Malformed(item, f"its priority in Redis is {item.priority!r}")
    if type(item.enqueued_at_ms) is not int:
        return Malformed(item, "its time in Redis is not a number of milliseconds")
    if why := unusable(symbol, ticker):
        return Malformed(item, why)
    return Work(item, symbol, ticker, kind)


def unusable(symbol: str, ticker: str) -> str | None:
    """Why an asset cannot be asked for; None: it can."""
    try:
        if is_bars(symbol):
            raise InvalidRequest
        checked_symbol(f"{symbol}{_BARS}")
    except InvalidRequest:
        return f"{symbol[:40]!r} is not a symbol: 1 to 61 letters, digits or one of . _ : / -"
    try:
        check_ticker(ticker)
    except InvalidTicker as error:
        return error.message
    return None


def usable(assets: Iterable[StoredAsset]) -> list[StoredAsset]:
    """Those of the assets that can be asked for, in their order; the others are logged."""
    found = []
    for asset in assets:
        if why := unusable(asset.symbol, asset.polygon_ticker):
            log.warning("symbol.malformed", symbol=asset.symbol[:40], why=why)
        else:
            found.append(asset)
    return found
