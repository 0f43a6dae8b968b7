"""What an answer really states about a ticker, read without any code of market/.

More generous than the readers under test (a key that stands twice states both its values), so that
whatever they store must be found here, and what is found nowhere here is a wrong row."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from decimal import Context, Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from tests.chaos.mutation import Obj, Raw, Reply

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EXACT = Context(prec=200)
_MINUTE, _BAR = timedelta(minutes=1), timedelta(minutes=5)
_MICROSECOND = timedelta(microseconds=1)
_NEW_YORK, _FRIDAY = ZoneInfo("America/New_York"), 4
_METALS = ("XAU", "XAG", "XPT", "XPD")
_GOOD = ("OK", "DELAYED", "SUCCESS", "")


@dataclass(frozen=True)
class Stored:
    """A price as it stands in the table."""

    last: Decimal
    as_of: datetime
    bid: Decimal | None
    ask: Decimal | None
    daily: tuple[Decimal | None, ...]
    """open, high, low, close"""


@dataclass(frozen=True)
class StoredBar:
    """A bar as it stands in the table."""

    start: datetime
    ohlc: tuple[Decimal, ...]
    volume: Decimal
    vwap: Decimal | None
    trades: int | None


def contents(reply: Reply) -> Any:
    """The tree that an answer states; None where no price may come from it at all."""
    body = reply.body
    if reply.raw is not None:  # an early hint before it is no harm
        if reply.body not in reply.raw:
            return None
    elif not 200 <= reply.code < 300:
        return None
    try:
        match reply.headers.get("Content-Encoding"):
            case "gzip":  # what follows the first member, or lacks at its end, changes no figure
                body = zlib.decompressobj(zlib.MAX_WBITS | 16).decompress(body)
            case "deflate":
                body = zlib.decompress(body)
    except zlib.error:
        return None
    try:
        tree = json.loads(
            body,
            object_pairs_hook=lambda pairs: Obj([list(pair) for pair in pairs]),
            parse_float=Raw,
            parse_int=Raw,
            parse_constant=_refuse,
        )
    except (ValueError, RecursionError):
        return None
    if not isinstance(tree, Obj):
        return None
    said = list(values(tree, "status"))
    good = [s for s in said if not isinstance(s, str) or s.upper() in _GOOD]
    return None if said and not good else tree


def _refuse(name: str) -> Any:
    raise ValueError(name)


def values(node: Any, *path: str) -> Iterator[Any]:
    """Everything at a path whose parts may have several names: "bid|b"."""
    if not path:
        yield node
    elif isinstance(node, Obj):
        names = path[0].split("|")
        for key, value in node.pairs:
            if key in names:
                yield from values(value, *path[1:])


def numbers(node: Any, *path: str) -> list[Decimal]:
    """The positive finite numbers there, written as such or as text."""
    found = []
    for value in values(node, *path):
        text = value.text if isinstance(value, Raw) else value
        try:
            number = Decimal(text) if isinstance(text, str) else Decimal("nan")
        except InvalidOperation:
            continue
        if number.is_finite() and number > 0:
            found.append(number)
    return found


def instants(node: Any, *path: str) -> list[datetime]:
    """The times there, in any unit that could be meant."""
    found = []
    for number in numbers(node, *path):
        for unit in (10**6, 10**3, 1, Decimal("0.001")):
            micros = _EXACT.multiply(number, Decimal(unit))
            if Decimal(10**15) <= micros < Decimal(7 * 10**15):
                found.append(_EPOCH + timedelta(microseconds=int(micros)))
    return found


def _near(a: Decimal, b: Decimal) -> bool:
    """Equal but for the rounding of the 28th digit, which a mean may need."""
    return abs(_EXACT.subtract(a, b)) <= _EXACT.multiply(abs(b), Decimal("1e-26"))


def _mids(node: Any, path: str) -> list[Decimal]:
    bids, asks = numbers(node, path, "bid|b"), numbers(node, path, "ask|a")
    return [_EXACT.divide(_EXACT.add(b, a), Decimal(2)) for b in bids for a in asks]


def wrong_price(tree: Any, feed: str, ticker: str, stored: Stored, now: datetime) -> str | None:
    """Why a stored price is not what the answer states; None if it is."""
    if feed == "aggregates":
        return _wrong_aggregate(tree, ticker, stored)
    items, names = _items(tree, feed, ticker)
    if not items:
        return f"the answer does not mention {ticker}"
    whys = [_wrong_item(item, names, ticker, stored, now) for item in items]
    return None if None in whys else whys[0]


_Names = tuple[str, str, str, str]


def _items(tree: Any, feed: str, ticker: str) -> tuple[list[Any], _Names]:
    """What a snapshot says about a ticker, and the names of quote, trade, minute and day in it."""
    if feed == "snapshot_v3":
        rows = _listed(tree, "results")
        names = ("last_quote", "last_trade", "last_minute", "session")
    else:
        rows = [*values(tree, "ticker"), *_listed(tree, "tickers")]
        names = ("lastQuote|last_quote", "lastTrade|last_trade", "min|minute", "day")
    return [row for row in rows if ticker in list(values(row, "ticker"))], names


def _listed(tree: Any, name: str) -> list[Any]:
    return [row for rows in values(tree, name) if isinstance(rows, list) for row in rows]


def supported(tree: Any, feed: str, ticker: str, price: Decimal) -> bool:
    """Whether a second figure of the answer, or a range in it, is anywhere near the price."""
    reach = Decimal("1.55") if feed == "aggregates" else Decimal("1.31")
    if feed == "aggregates":
        groups = [numbers(row, "h|high") + numbers(row, "l|low") for row in _bar_rows(tree, ticker)]
        return sum(any(_apart(n, price) <= reach for n in group) for group in groups) > 1
    items, (quote, trade, minute, day) = _items(tree, feed, ticker)
    for item in items:
        figures = [
            _mids(item, quote),
            numbers(item, trade, "p|price"),
            numbers(item, minute, "c|close"),
            numbers(item, day, "price|c|close"),
        ]
        near = sum(any(_apart(n, price) <= reach for n in group) for group in figures)
        ranges = any(
            low <= price * reach and price <= high * reach
            for part in (day, minute)
            for low in numbers(item, part, "l|low")
            for high in numbers(item, part, "h|high")
        )
        if near + ranges > 1:
            return True
    return False


def _apart(one: Decimal, other: Decimal) -> Decimal:
    return max(one, other) / min(one, other)


def is_cut(tree: Any) -> bool:
    """Whether the answer says that there is more, or is as long as one can be."""
    more = any(isinstance(url, str) and url for url in values(tree, "next_url"))
    return more or any(number >= 50_000 for number in numbers(tree, "queryCount"))


def _true_at(as_of: datetime, stated: datetime, ticker: str) -> bool:
    """A price is dated as the answer says, or at the close where that lies in a closed market."""
    if abs(as_of - stated) <= _MICROSECOND:
        return True
    local = as_of.astimezone(_NEW_YORK)
    pause = timedelta(hours=50) if local.weekday() == _FRIDAY else timedelta(hours=1)
    closes = local.weekday() == _FRIDAY or (ticker[2:5] in _METALS and local.weekday() < _FRIDAY)
    at_close = ticker.startswith("C:") and closes and local.time() == time(17)
    return at_close and timedelta(0) < stated - as_of <= pause


def _wrong_item(item: Any, names: _Names, ticker: str, stored: Stored, now: datetime) -> str | None:
    quote, trade, minute, day = names
    ends = [min(at + _MINUTE, now) for at in instants(item, minute, "t|start")]
    traded = "t|at|participant_timestamp|sip_timestamp|last_updated|timestamp"
    pairs = (
        (_mids(item, quote), instants(item, quote, "t|at|last_updated")),
        (numbers(item, trade, "p|price"), instants(item, trade, traded)),
        (numbers(item, minute, "c|close"), ends + instants(item, minute, "last_updated")),
        (
            numbers(item, day, "price|c|close"),
            instants(item, day, "last_updated") + instants(item, "updated"),
        ),
    )
    good = any(
        any(_near(stored.last, price) for price in prices)
        and any(_true_at(stored.as_of, at, ticker) for at in times)
        for prices, times in pairs
    )
    if not good:
        return f"no price {stored.last} as of {stored.as_of} is stated"
    if stored.as_of > now + timedelta(minutes=3):
        return f"a price from the future: {stored.as_of}"
    fields = {
        "bid": (stored.bid, numbers(item, quote, "bid|b")),
        "ask": (stored.ask, numbers(item, quote, "ask|a")),
        "open": (stored.daily[0], numbers(item, day, "o|open")),
        "high": (stored.daily[1], numbers(item, day, "h|high")),
        "low": (stored.daily[2], numbers(item, day, "l|low")),
        "close": (stored.daily[3], numbers(item, day, "c|close")),
    }
    return _wrong_field(fields)


def _wrong_field(fields: dict[str, tuple[Decimal | None, list[Decimal]]]) -> str | None:
    for name, (value, stated) in fields.items():
        if value is not None and value not in stated:
            return f"no {name} of {value} is stated"
    return None


def _bar_rows(tree: Any, ticker: str) -> list[Any]:
    tickers = [t for t in values(tree, "ticker") if t is not None]
    if tickers and ticker not in tickers:
        return []
    return _listed(tree, "results")


def _wrong_aggregate(tree: Any, ticker: str, stored: Stored) -> str | None:
    rows = _bar_rows(tree, ticker)
    last = [row for row in rows if stored.as_of - _BAR in instants(row, "t|start")]
    if not any(stored.last in numbers(row, "c|close") for row in last):
        return f"no bar that ends at {stored.as_of} closes at {stored.last}"
    names = ("o|open", "h|high", "l|low", "c|close")
    fields = {
        name: (value, [n for row in rows for n in numbers(row, name)])
        for name, value in zip(names, stored.daily, strict=True)
    }
    return _wrong_field(fields)


def bar_rows(tree: Any, ticker: str) -> dict[datetime, list[Any]]:
    """When each bar begins that the answer states, and what it says about it."""
    found: dict[datetime, list[Any]] = {}
    for row in _bar_rows(tree, ticker):
        for at in instants(row, "t|start"):
            found.setdefault(at, []).append(row)
    return found


def wrong_bar(stated: Mapping[datetime, list[Any]], bar: StoredBar, now: datetime) -> str | None:
    """Why a stored bar is not what the answer states (`bar_rows`); None if it is."""
    open_, high, low, close = bar.ohlc
    if not low <= min(open_, close) <= max(open_, close) <= high:
        return f"a bar that cannot be: {bar}"
    if bar.start + _BAR > now or int(bar.start.timestamp()) % 300:
        return f"a bar of no five completed minutes: {bar.start}"
    for row in stated.get(bar.start, ()):
        named = zip(("o|open", "h|high", "l|low", "c|close"), bar.ohlc, strict=True)
        volumes = [*numbers(row, "v|volume"), Decimal(0)]
        trades = [*numbers(row, "n|transactions"), Decimal(0)]
        if (
            all(value in numbers(row, name) for name, value in named)
            and bar.volume in volumes
            and (bar.vwap is None or bar.vwap in numbers(row, "vw|vwap"))
            and (bar.trades is None or bar.trades in [int(n) for n in trades])
        ):
            return None
    return f"no such bar is stated: {bar}"
