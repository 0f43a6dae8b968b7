"""What may be asked for: rows of PostgreSQL and items of Redis are not believed unseen.

A row of the user's own table may hold anything, and whoever can write to Redis may put anything
into an item. One that makes no sense is named and left out; it never holds up the others, and
none of it reaches a URL.
"""

import re
from collections.abc import Iterable

import structlog

from db.symbols import StoredAsset
from market.errors import InvalidTicker
from market.tickers import check_ticker
from queueing import Item, Priority
from worker.selection import BARS

log = structlog.get_logger(__name__)

_SYMBOL = re.compile(r"[A-Za-z0-9._:/-]{1,60}", re.ASCII)
"""What the queue takes, with room for the end of the name of the bars."""


def flaw(symbol: str, ticker: str) -> str | None:
    """Why an asset cannot be asked for; None: it can."""
    if not _SYMBOL.fullmatch(symbol) or symbol.endswith(BARS):
        return f"{symbol[:40]!r} is not a symbol: 1 to 60 letters, digits or one of . _ : / -"
    try:
        check_ticker(ticker)
    except InvalidTicker as error:
        return error.message
    return None


def sound(assets: Iterable[StoredAsset]) -> list[StoredAsset]:
    """Those of the assets that can be asked for, in their order; the others are logged."""
    found = []
    for asset in assets:
        if why := flaw(asset.symbol, asset.polygon_ticker):
            log.warning("symbol.malformed", symbol=asset.symbol[:40], why=why)
        else:
            found.append(asset)
    return found


def flaw_of(item: Item) -> str | None:
    """Why a claimed item cannot be refreshed; None: it can."""
    payload = item.payload
    symbol, ticker = payload.get("symbol", item.symbol), payload.get("ticker")
    if not isinstance(ticker, str) or not isinstance(symbol, str):
        return "its payload in Redis holds no ticker"
    if item.symbol != (f"{symbol}{BARS}" if payload.get("bars") else symbol):
        return f"its payload in Redis is about {symbol[:40]!r}"
    if type(item.priority) is not int or item.priority not in set(Priority):
        return f"its priority in Redis is {item.priority!r}"
    if type(item.enqueued_at_ms) is not int:
        return "its time in Redis is not a number of milliseconds"
    return flaw(symbol, ticker)
