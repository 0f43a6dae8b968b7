"""/v2/snapshot (one ticker, a market) and /v3/snapshot (up to 250 tickers of any market)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from local.sandbox import answers
from local.sandbox.aggregates import known
from local.sandbox.call import Call, Refused, read_cursor
from local.sandbox.hours import is_open
from local.sandbox.wire import Reply

_MAX_ANY_OF: Final = 250
_MARKETS: Final = {"forex": "fx", "crypto": "crypto"}


def one(call: Call, market: str, ticker: str) -> Reply:
    """The v2 snapshot of one ticker; a ticker of the other market is not found."""
    if market not in _MARKETS:
        raise Refused(answers.page_not_found())
    if not call.plan.single_snapshots:
        raise Refused(answers.not_entitled())
    instrument = known(call, ticker)
    if instrument.market != _MARKETS[market]:
        raise Refused(answers.ticker_not_found())
    shown = answers.snapshot(instrument, call.series.at(ticker, call.now_ms), single=True)
    return answers.as_reply(200, answers.envelope() | {"ticker": shown})


def market(call: Call, market: str) -> Reply:
    """The v2 snapshot of a whole market, or of `tickers=A,B`; unknown ones are left out."""
    if market not in _MARKETS:
        raise Refused(answers.page_not_found())
    if not call.plan.all_snapshots:
        raise Refused(answers.not_entitled())
    wanted = [name for name in call.request.query.get("tickers", "").split(",") if name]
    rows = [
        answers.snapshot(instrument, call.series.at(ticker, call.now_ms), single=False)
        for ticker, instrument in call.series.instruments.items()
        if instrument.market == _MARKETS[market] and (not wanted or ticker in wanted)
    ]
    return answers.as_reply(200, {"status": "OK", "tickers": rows})


def universal(call: Call) -> Reply:
    """The v3 snapshot. `limit` is 10 unless told (250 at most), the rest comes by `next_url`;
    a ticker that does not exist is an item with an error inside the good answer."""
    if not call.plan.all_snapshots:
        raise Refused(answers.not_entitled())
    query, done = read_cursor(call.request.query)
    page, following = call.page(_selected(call, query), query, done, most=_MAX_ANY_OF, default=10)
    body = answers.envelope() | {"results": [_item(call, ticker) for ticker in page]}
    return answers.as_reply(200, body | following)


def _selected(call: Call, query: Mapping[str, str]) -> Sequence[str]:
    any_of = list(dict.fromkeys(name for name in query.get("ticker.any_of", "").split(",") if name))
    if len(any_of) > _MAX_ANY_OF:
        text = f"'ticker.any_of' takes at most {_MAX_ANY_OF} tickers"
        raise Refused(answers.bad_request(text))
    kind = query.get("type", "")
    tickers = any_of or [
        ticker
        for ticker, instrument in call.series.instruments.items()
        if in_range(ticker, query) and kind in ("", instrument.market)
    ]
    return sorted(tickers, reverse=query.get("order") == "desc")


def in_range(ticker: str, query: Mapping[str, str]) -> bool:
    """Whether the ticker is in the range that the query asks for; all are if it asks for none."""
    return (
        query.get("ticker", ticker) == ticker
        and query.get("ticker.gte", "") <= ticker <= query.get("ticker.lte", "~")
        and query.get("ticker.gt", "") < ticker < query.get("ticker.lt", "~")
    )


def _item(call: Call, ticker: str) -> answers.JsonDict:
    if (instrument := call.series.instruments.get(ticker)) is None:
        return {"ticker": ticker, "error": "NOT_FOUND", "message": "Ticker not found."}
    quote = call.series.at(ticker, call.now_ms)
    return answers.universal(instrument, quote, is_open(instrument.kind, call.now_ms))
