"""/v3/reference/tickers and /v1/marketstatus/now: on every plan."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from local.sandbox import answers
from local.sandbox.context import Context, read_cursor, write_cursor
from local.sandbox.hours import NEW_YORK, is_open
from local.sandbox.instruments import Instrument
from local.sandbox.wire import Reply
from market.tickers import AssetKind

_MAX_PAGE: Final = 1000


def tickers(context: Context) -> Reply:
    """Tickers by name, filtered by market, active, search and ticker ranges; paged."""
    query, done = read_cursor(context.request.query)
    limit = context.integer("limit", 100, _MAX_PAGE)
    found = sorted(
        (i for i in context.series.instruments.values() if _wanted(i, query)),
        key=lambda i: i.ticker,
        reverse=query.get("order") == "desc",
    )
    page = found[done : done + limit]
    body = answers.envelope() | {
        "results": [_row(context, instrument) for instrument in page],
        "count": len(page),
    }
    if done + limit < len(found):
        following = write_cursor(query, done + limit)
        path = "/v3/reference/tickers"
        body["next_url"] = context.next_url(path, cursor=following, limit=str(limit))
    return answers.as_reply(200, body)


def market_status(context: Context) -> Reply:
    """Which markets are open now: a flat answer without status and request id."""
    now = datetime.fromtimestamp(context.now_ms // 1000, UTC).astimezone(NEW_YORK)
    body = {
        "afterHours": False,
        "currencies": {"crypto": "open", "fx": _open(AssetKind.FOREX, context.now_ms)},
        "earlyHours": False,
        "exchanges": {"nasdaq": "closed", "nyse": "closed", "otc": "closed"},
        "market": "closed",
        "serverTime": now.isoformat(),
    }
    return answers.as_reply(200, body)


def _open(kind: AssetKind, now_ms: int) -> str:
    return "open" if is_open(kind, now_ms) else "closed"


def _wanted(instrument: Instrument, query: dict[str, str]) -> bool:
    text = query.get("search", "").lower()
    return (
        query.get("active", "true") == "true"
        and query.get("market", instrument.market) == instrument.market
        and query.get("ticker", instrument.ticker) == instrument.ticker
        and query.get("ticker.gte", "") <= instrument.ticker <= query.get("ticker.lte", "~")
        and query.get("ticker.gt", "") < instrument.ticker < query.get("ticker.lt", "~")
        and (text in instrument.ticker.lower() or text in instrument.name.lower())
    )


def _row(context: Context, instrument: Instrument) -> answers.JsonDict:
    midnight = datetime.fromtimestamp(context.today * 86_400, UTC)
    return {
        "ticker": instrument.ticker,
        "name": instrument.name,
        "market": instrument.market,
        "locale": "global",
        "active": True,
        "currency_symbol": instrument.quote.code,
        "currency_name": instrument.quote.name,
        "base_currency_symbol": instrument.base.code,
        "base_currency_name": instrument.base.name,
        "last_updated_utc": midnight.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
