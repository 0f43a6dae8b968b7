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
    return {"status": status, "request_id": uuid4().hex}


def _error(http: int, text: str, headers: Mapping[str, str] | None = None) -> Reply:
    return as_reply(http, envelope("ERROR") | {"error": text}, headers)


def _message(http: int, status: str, text: str) -> Reply:
    return as_reply(http, envelope(status) | {"message": text})


def key_missing() -> Reply:
    return _error(401, "API Key was not provided")


def key_unknown() -> Reply:
    return _error(401, "Unknown API Key")


def bad_request(text: str) -> Reply:
    return _error(400, text)


def too_many_requests(retry_after_s: float | None = None) -> Reply:
    headers = {} if retry_after_s is None else {"Retry-After": f"{retry_after_s:g}"}
    return _error(
        429,
        "You've exceeded the maximum requests per minute, please wait or upgrade your "
        f"subscription to continue. {_PRICING}",
        headers,
    )


def not_entitled() -> Reply:
    return _message(
        403,
        "NOT_AUTHORIZED",
        f"You are not entitled to this data. Please upgrade your plan at {_PRICING}",
    )


def not_yet_published() -> Reply:
    return _message(
        403,
        "NOT_AUTHORIZED",
        "Attempted to request today's data before end of day. "
        f"Please upgrade your plan at {_PRICING}",
    )


def outside_plan() -> Reply:
    return _message(
        403,
        "NOT_AUTHORIZED",
        f"Your plan doesn't include this data timeframe. Please upgrade your plan at {_PRICING}",
    )


def ticker_not_found() -> Reply:
    return _message(404, "NOT_FOUND", "Ticker not found.")


def data_not_found() -> Reply:
    return _message(404, "NOT_FOUND", "Data not found.")


def page_not_found() -> Reply:
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
    change = quote.last - quote.previous_day.close if quote.previous_day else 0.0
    percent = 100 * change / quote.previous_day.close if quote.previous_day else 0.0
    body: JsonDict = {
        "ticker": instrument.ticker,
        "todaysChange": round(change, instrument.digits),
        "todaysChangePerc": round(percent, 6),
        "updated": quote.at_ms,
    }
    if instrument.kind is AssetKind.CRYPTO:
        return body | {
            "day": _snapshot_bar(quote.day, "vw"),
            "lastTrade": {
                "c": [2],
                "i": str(quote.at_ms) if single else quote.at_ms,
                "p": number(quote.last),
                "s": number(quote.size),
                "t": quote.at_ms,
                "x": 1,
            },
            "min": _snapshot_bar(quote.minute, "vw", "n", "t"),
            "prevDay": _snapshot_bar(quote.previous_day, "vw"),
        }
    return body | {
        "day": _snapshot_bar(quote.day),
        "lastQuote": {
            "a": number(quote.ask),
            "b": number(quote.bid),
            "t": quote.at_ms,
            "x": 48,
        },
        "min": _snapshot_bar(quote.minute, "n", "t"),
        "prevDay": _snapshot_bar(quote.previous_day, "vw"),
    }


def universal(instrument: Instrument, quote: Quote, *, market_open: bool) -> JsonDict:
    """The v3 snapshot of one ticker (times in ns). fx has a last quote and no price in the
    session; crypto has a last trade."""
    at_ns = quote.at_ms * 1_000_000
    session: JsonDict = {}
    if quote.day is not None:
        before = quote.previous_day.close if quote.previous_day else quote.day.open
        change = quote.day.close - before
        session = {
            "change": round(change, instrument.digits),
            "change_percent": round(100 * change / before, 6),
            "close": number(quote.day.close),
            "high": number(quote.day.high),
            "low": number(quote.day.low),
            "open": number(quote.day.open),
            "previous_close": number(before),
            "volume": number(quote.day.volume),
        }
    body: JsonDict = {
        "ticker": instrument.ticker,
        "type": instrument.market,
        "name": instrument.name,
        "market_status": "open" if market_open else "closed",
        "session": session,
    }
    if instrument.kind is AssetKind.CRYPTO:
        return body | {
            "session": session | {"price": number(quote.last)},
            "last_trade": {
                "conditions": [2],
                "exchange": 1,
                "id": str(quote.at_ms),
                "participant_timestamp": at_ns,
                "price": number(quote.last),
                "size": number(quote.size),
                "timeframe": "REAL-TIME",
            },
        }
    return body | {
        "last_quote": {
            "ask": number(quote.ask),
            "ask_exchange": 48,
            "bid": number(quote.bid),
            "bid_exchange": 48,
            "exchange": 48,
            "last_updated": at_ns,
            "midpoint": round((quote.ask + quote.bid) / 2, instrument.digits + 1),
            "timeframe": "REAL-TIME",
        }
    }
