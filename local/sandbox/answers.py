"""Bodies of the provider's answers: envelopes, refusals, and the shapes inside them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Final
from uuid import uuid4

from local.sandbox.instruments import Instrument
from local.sandbox.series import Quote, SandboxBar
from local.sandbox.wire import Reply
from market.tickers import AssetKind

JsonDict = dict[str, Any]
_PRICING: Final = "https://massive.com/pricing"


def as_reply(status: int, body: object, headers: Mapping[str, str] | None = None) -> Reply:
    """A JSON answer; headers repeat its request id, next page and number of items, if any."""
    named = dict(headers or {})
    if isinstance(body, dict):
        if "request_id" in body:
            named["X-Request-Id"] = body["request_id"]
        if "next_url" in body:
            named["Link"] = f'<{body["next_url"]}>; rel="next"'
        if "results" in body:
            named["X-Item-Count"] = str(len(body["results"]))
    return Reply(status, json.dumps(body, separators=(",", ":")).encode(), headers=named)


def envelope(status: str = "OK") -> JsonDict:
    """What every JSON answer begins with."""
    return {"status": status, "request_id": uuid4().hex}


def bad_request(text: str) -> Reply:
    """400 that says why."""
    return as_reply(400, envelope("ERROR") | {"error": text})


def key_missing() -> Reply:
    """401 for a request without a key."""
    return as_reply(401, envelope("ERROR") | {"error": "API Key was not provided"})


def key_unknown() -> Reply:
    """401 for a key that is not accepted."""
    return as_reply(401, envelope("ERROR") | {"error": "Unknown API Key"})


def too_many_requests(retry_after_s: float | None = None) -> Reply:
    """429, with Retry-After if a time is given; the provider sends none."""
    text = (
        "You've exceeded the maximum requests per minute, please wait or upgrade your "
        f"subscription to continue. {_PRICING}"
    )
    headers = {} if retry_after_s is None else {"Retry-After": f"{retry_after_s:g}"}
    return as_reply(429, envelope("ERROR") | {"error": text}, headers)


def not_entitled() -> Reply:
    """403: the plan does not include this kind of data."""
    return _not_authorized("You are not entitled to this data.")


def not_yet_published() -> Reply:
    """403: an end-of-day plan asks for a day that is not over."""
    return _not_authorized("Attempted to request today's data before end of day.")


def outside_plan() -> Reply:
    """403: older than the plan's history, or today on an end-of-day plan."""
    return _not_authorized("Your plan doesn't include this data timeframe.")


def _not_authorized(text: str) -> Reply:
    message = f"{text} Please upgrade your plan at {_PRICING}"
    return as_reply(403, envelope("NOT_AUTHORIZED") | {"message": message})


def ticker_not_found() -> Reply:
    """404 for a ticker that does not exist."""
    return as_reply(404, envelope("NOT_FOUND") | {"message": "Ticker not found."})


def page_not_found() -> Reply:
    """404 for a path that does not exist."""
    return Reply(404, b"404 page not found", "text/plain; charset=utf-8")


def number(value: float) -> float | int:
    """A number as the provider writes it: whole ones without a fraction."""
    return int(value) if value == int(value) else value


def aggregate(bar: SandboxBar) -> JsonDict:
    """A bar as the aggregates write it."""
    return {
        "v": number(bar.volume),
        "vw": number(bar.vwap),
        "o": number(bar.open),
        "c": number(bar.close),
        "h": number(bar.high),
        "l": number(bar.low),
        "t": bar.start_ms,
        "n": bar.ticks,
    }


def _snapshot_bar(bar: SandboxBar | None, *names: str) -> JsonDict:
    """A snapshot's bar; all zeros where nothing traded, as the provider clears them."""
    shown = ("o", "h", "l", "c", "v", *names)
    values = dict.fromkeys(shown, 0) if bar is None else aggregate(bar)
    return {name: values[name] for name in shown}


def snapshot(instrument: Instrument, quote: Quote, *, single: bool) -> JsonDict:
    """The v2 snapshot of one ticker (times in ms). Crypto ids are strings in a single one."""
    before = quote.previous_day.close if quote.previous_day else quote.last
    body: JsonDict = {
        "ticker": instrument.ticker,
        "todaysChange": round(quote.last - before, instrument.digits),
        "todaysChangePerc": round(100 * (quote.last - before) / before, 6),
        "updated": quote.at_ms,
    }
    name, also = "lastQuote", list[str]()
    last: JsonDict = {"a": number(quote.ask), "b": number(quote.bid), "t": quote.at_ms, "x": 48}
    if instrument.kind is AssetKind.CRYPTO:
        name, also = "lastTrade", ["vw"]
        last = {"p": number(quote.last), "s": number(quote.size), "t": quote.at_ms, "x": 1}
        last |= {"c": [2], "i": str(quote.at_ms) if single else quote.at_ms}
    return body | {
        name: last,
        "day": _snapshot_bar(quote.day, *also),
        "min": _snapshot_bar(quote.minute, *also, "n", "t"),
        "prevDay": _snapshot_bar(quote.previous_day, "vw"),
    }


def universal(instrument: Instrument, quote: Quote, market_is_open: bool) -> JsonDict:
    """The v3 snapshot of one ticker (times in ns). fx has a last quote and no price in the
    session; crypto has a last trade."""
    at_ns = quote.at_ms * 1_000_000
    body: JsonDict = {
        "ticker": instrument.ticker,
        "type": instrument.market,
        "name": instrument.name,
        "market_status": "open" if market_is_open else "closed",
        "session": _session(instrument, quote),
    }
    if instrument.kind is AssetKind.CRYPTO:
        body["session"]["price"] = number(quote.last)
        body["last_trade"] = {
            "conditions": [2],
            "exchange": 1,
            "id": str(quote.at_ms),
            "participant_timestamp": at_ns,
            "price": number(quote.last),
            "size": number(quote.size),
            "timeframe": "REAL-TIME",
        }
    else:
        body["last_quote"] = {
            "ask": number(quote.ask),
            "ask_exchange": 48,
            "bid": number(quote.bid),
            "bid_exchange": 48,
            "exchange": 48,
            "last_updated": at_ns,
            "midpoint": round((quote.ask + quote.bid) / 2, instrument.digits + 1),
            "timeframe": "REAL-TIME",
        }
    return body


def _session(instrument: Instrument, quote: Quote) -> JsonDict:
    if quote.day is None:
        return {}
    before = quote.previous_day.close if quote.previous_day else quote.day.open
    change = quote.day.close - before
    return {
        "change": round(change, instrument.digits),
        "change_percent": round(100 * change / before, 6),
        "close": number(quote.day.close),
        "high": number(quote.day.high),
        "low": number(quote.day.low),
        "open": number(quote.day.open),
        "previous_close": number(before),
        "volume": number(quote.day.volume),
    }
