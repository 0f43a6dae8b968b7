"""/v3/reference/tickers and /v1/marketstatus/now: on every plan."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from local.sandbox import answers
from local.sandbox.call import Call, read_cursor
from local.sandbox.hours import NEW_YORK, is_open
from local.sandbox.instruments import Instrument, instrument
from local.sandbox.snapshots import in_range
from local.sandbox.wire import Reply
from market.tickers import AssetKind

_MAX_PAGE: Final = 1000
_DELISTED: Final = {ticker: instrument(ticker) for ticker in ("X:LUNAUSD", "C:USDVEF")}
"""Listed as inactive, where no catalogue brings them to life."""


def tickers(call: Call) -> Reply:
    """Tickers by name, filtered by market, active, search and ticker ranges; paged."""
    query, done = read_cursor(call.request.query)
    instruments = call.series.instruments
    active = query.get("active", "true") == "true"
    listed = instruments if active else {t: i for t, i in _DELISTED.items() if t not in instruments}
    found = sorted(
        (ticker for ticker, instrument in listed.items() if _wanted(instrument, query)),
        reverse=query.get("order") == "desc",
    )
    page, following = call.page(found, query, done, most=_MAX_PAGE, default=100)
    rows = [_row(call, listed[ticker], active=active) for ticker in page]
    body = answers.envelope() | {"results": rows, "count": len(rows)}
    return answers.as_reply(200, body | following)


def market_status(call: Call) -> Reply:
    """Which markets are open now: a flat answer without status and request id."""
    now = datetime.fromtimestamp(call.now_ms // 1000, UTC).astimezone(NEW_YORK)
    fx = "open" if is_open(AssetKind.FOREX, call.now_ms) else "closed"
    body = {
        "afterHours": False,
        "currencies": {"crypto": "open", "fx": fx},
        "earlyHours": False,
        "exchanges": {"nasdaq": "closed", "nyse": "closed", "otc": "closed"},
        "market": "closed",
        "serverTime": now.isoformat(),
    }
    return answers.as_reply(200, body)


def _wanted(instrument: Instrument, query: Mapping[str, str]) -> bool:
    text = query.get("search", "").lower()
    return (
        query.get("market", instrument.market) == instrument.market
        and in_range(instrument.ticker, query)
        and (text in instrument.ticker.lower() or text in instrument.name.lower())
    )


def _row(call: Call, instrument: Instrument, *, active: bool) -> answers.JsonDict:
    midnight = datetime.fromtimestamp(call.today * 86_400, UTC)
    return {
        "ticker": instrument.ticker,
        "name": instrument.name,
        "market": instrument.market,
        "locale": "global",
        "active": active,
        "currency_symbol": instrument.quote.code,
        "currency_name": instrument.quote.name,
        "base_currency_symbol": instrument.base.code,
        "base_currency_name": instrument.base.name,
        "last_updated_utc": midnight.strftime("%Y-%m-%dT%H:%M:%SZ"),
    } | ({} if active else {"delisted_utc": "2022-05-28T00:00:00Z"})
