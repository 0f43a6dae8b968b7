"""/v2/snapshot (one ticker, a market) and /v3/snapshot (up to 250 tickers of any market)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from local.sandbox import answers
from local.sandbox.aggregates import known
from local.sandbox.context import Context, Refused, read_cursor, write_cursor
from local.sandbox.hours import is_open
from local.sandbox.instruments import Instrument
from local.sandbox.wire import Reply

_MAX_ANY_OF: Final = 250
_MARKETS: Final = {"forex": "fx", "crypto": "crypto"}


def one(context: Context, market: str, ticker: str) -> Reply:
    """The v2 snapshot of one ticker; a ticker of the other market is not found."""
    if market not in _MARKETS:
        raise Refused(answers.page_not_found())
    if not context.plan.single_snapshots:
        raise Refused(answers.not_entitled())
    instrument = known(context, ticker)
    if instrument.market != _MARKETS[market]:
        raise Refused(answers.ticker_not_found())
    quote = context.series.at(ticker, context.now_ms)
    body = answers.envelope() | {"ticker": answers.snapshot(instrument, quote, single=True)}
    return answers.as_reply(200, body)


def market(context: Context, market: str) -> Reply:
    """The v2 snapshot of a whole market, or of `tickers=A,B`; unknown ones are left out."""
    if market not in _MARKETS:
        raise Refused(answers.page_not_found())
    if not context.plan.all_snapshots:
        raise Refused(answers.not_entitled())
    wanted = [name for name in context.request.query.get("tickers", "").split(",") if name]
    rows = [
        answers.snapshot(instrument, context.series.at(ticker, context.now_ms), single=False)
        for ticker, instrument in context.series.instruments.items()
        if instrument.market == _MARKETS[market] and (not wanted or ticker in wanted)
    ]
    return answers.as_reply(200, {"status": "OK", "tickers": rows})


def universal(context: Context) -> Reply:
    """The v3 snapshot. `limit` is 10 unless told (250 at most), the rest comes by `next_url`;
    a ticker that does not exist is an item with an error inside the good answer."""
    if not context.plan.all_snapshots:
        raise Refused(answers.not_entitled())
    query, done = read_cursor(context.request.query)
    limit = context.integer("limit", 10, _MAX_ANY_OF)
    tickers = _selected(context, query)
    page = tickers[done : done + limit]
    body = answers.envelope() | {"results": [_item(context, ticker) for ticker in page]}
    if done + limit < len(tickers):
        following = write_cursor(query, done + limit)
        body["next_url"] = context.next_url("/v3/snapshot", cursor=following, limit=str(limit))
    return answers.as_reply(200, body)


def _selected(context: Context, query: dict[str, str]) -> Sequence[str]:
    any_of = list(dict.fromkeys(name for name in query.get("ticker.any_of", "").split(",") if name))
    if len(any_of) > _MAX_ANY_OF:
        text = f"'ticker.any_of' takes at most {_MAX_ANY_OF} tickers"
        raise Refused(answers.bad_request(text))
    kind = query.get("type", "")
    tickers = any_of or [
        ticker
        for ticker, instrument in context.series.instruments.items()
        if _in_range(ticker, query) and kind in ("", instrument.market)
    ]
    return sorted(tickers, reverse=query.get("order") == "desc")


def _in_range(ticker: str, query: dict[str, str]) -> bool:
    return (
        ticker >= query.get("ticker.gte", "")
        and ticker > query.get("ticker.gt", "")
        and ticker <= query.get("ticker.lte", "~")
        and ticker < query.get("ticker.lt", "~")
        and ticker == query.get("ticker", ticker)
    )


def _item(context: Context, ticker: str) -> answers.JsonDict:
    instrument: Instrument | None = context.series.instruments.get(ticker)
    if instrument is None:
        return {"ticker": ticker, "error": "NOT_FOUND", "message": "Ticker not found."}
    quote = context.series.at(ticker, context.now_ms)
    trading = is_open(instrument.kind, context.now_ms)
    return answers.universal(instrument, quote, market_open=trading)
