"""What is promised of prices: newer replaces older, and calls, rows and events tell the same."""

import re
from collections.abc import Iterator
from datetime import datetime

from tests.chaos.evidence import Evidence, Row
from tests.chaos.promises import promise, waits_or_rests


def _price(raw: Row) -> tuple[datetime, int]:
    """(as_of, observed_at_ms) of a row or an event: what is newer replaces."""
    return datetime.fromisoformat(raw["timestamp"]), int(raw["observed_at_ms"])


@promise("old never replaces new")
def rows_monotone(e: Evidence) -> Iterator[str]:
    """Each stored price is newer than the one before it; the row is the last of them."""
    last: dict[str, Row] = {}
    for entry in e.history:
        symbol, price = entry["symbol"], entry["price"]
        if symbol in last and _price(price) <= _price(last[symbol]):
            yield f"{symbol}: {_price(price)[1]} replaced {_price(last[symbol])[1]}"
        last[symbol] = price
    for symbol, row in e.rows.items():
        if symbol in last and row != last[symbol]:
            yield f"{symbol}: its row is not what was stored last"


@promise("events are as if once, in order")
def events_in_order(e: Evidence) -> Iterator[str]:
    """No event twice, none older than one before it."""
    last: dict[str, Row] = {}
    seen: set[tuple[str, int]] = set()
    for _, event in e.redis["updates"]:
        if not isinstance(event, dict):
            yield f"an unreadable event {event!r}"[:80]
            continue
        symbol = event["symbol"]
        name = (symbol, event["observed_at_ms"])
        if name in seen:
            yield f"{symbol}: {name[1]} was told twice"
        elif symbol in last and _price(event) < _price(last[symbol]):
            yield f"{symbol}: {name[1]} was told after {last[symbol]['observed_at_ms']}"
        seen.add(name)
        last[symbol] = event


@promise("events match rows")
def events_match_rows(e: Evidence) -> Iterator[str]:
    """What was told was stored; what was stored last was told, or its item still waits."""
    stored = {(h["symbol"], h["price"]["observed_at_ms"]): h["price"] for h in e.history}
    told: dict[str, int] = {}
    for _, event in e.redis["updates"]:
        if not isinstance(event, dict):
            continue
        symbol, observed = event["symbol"], event["observed_at_ms"]
        price = stored.get((symbol, observed))
        if price is None:
            yield f"{symbol}: the event of {observed} was never a row"
        elif price["last_price"] != event["last_price"] or _price(price) != _price(event):
            yield f"{symbol}: the event of {observed} tells another price than the row"
        told[symbol] = max(told.get(symbol, 0), observed)
    for symbol, row in e.rows.items():
        if row["observed_at_ms"] > told.get(symbol, 0) and not _any_waits(e, symbol):
            yield f"{symbol}: the row of {row['observed_at_ms']} was never told"


def _any_waits(e: Evidence, symbol: str) -> bool:
    """The price or the bars of an asset are still to be done, or died."""
    return waits_or_rests(e, symbol) or waits_or_rests(e, f"{symbol}/5m")


def _of_market(row: Row) -> str | None:
    """The letter of the tickers of a market that was asked for as a whole."""
    found = re.fullmatch(r"/v2/snapshot/locale/global/markets/(\w+)/tickers/?", row["path"])
    return {"forex": "C:", "crypto": "X:"}[found[1]] if found else None


def _asked(e: Evidence, row: Row) -> frozenset[str]:
    """The tickers that a request asked for."""
    market = _of_market(row)
    if market is None:
        return frozenset(row["tickers"])
    return frozenset(ticker for ticker in e.assets.values() if ticker.startswith(market))


def _is_of(called: frozenset[str], row: Row, asked: frozenset[str]) -> bool:
    """Whether a call for these tickers may have made the request. A whole market is asked for on
    behalf of many of its tickers, and of some of another market."""
    if _of_market(row) is None:
        return called == asked
    return len(called) > 250 and not called.isdisjoint(asked)


@promise("answers are stored")
def answers_stored(e: Evidence) -> Iterator[str]:
    """An answered call is in the audit, unless a fault hit it; its assets were refreshed since."""
    open_calls = [(call["at"], frozenset(call["tickers"])) for call in e.calls]
    symbols = {ticker: symbol for symbol, ticker in e.assets.items()}
    unmatched = []
    for row in e.arrivals:
        if row["status"] is None:
            continue
        wanted, wall = _asked(e, row), row["wall_s"]
        earliest = wall - e.rules.send_s - 1
        match = next(
            (
                call
                for call in open_calls
                for by_clock in (call[0], call[0] - e.rules.clock_step_s)
                if _is_of(call[1], row, wanted) and earliest <= by_clock <= wall + 0.1
            ),
            None,
        )
        if match:
            open_calls.remove(match)
            continue
        unmatched.append(row)
        if row["status"] != 200 or "snapshot" not in row["path"]:
            continue
        for symbol in (symbols[t] for t in row["tickers"] if t in symbols):
            observed = e.rows.get(symbol, {}).get("observed_at_ms", 0) / 1000
            if observed < earliest and not waits_or_rests(e, symbol):
                yield f"{symbol}: the answer of {wall:.3f} was lost, and it waits nowhere"
    if len(unmatched) > e.disturbances:
        yield f"{len(unmatched)} answers are in no audit row, {e.disturbances} could be excused"


@promise("rows come from calls")
def rows_have_calls(e: Evidence) -> Iterator[str]:
    """No price without a request for it that arrived after its grant, within the send budget."""
    arrived: dict[str, list[float]] = {}
    for row in e.arrivals:
        for ticker in _asked(e, row):
            arrived.setdefault(ticker, []).append(row["wall_s"])
    for entry in e.history:
        granted = entry["price"]["observed_at_ms"] / 1000
        times = arrived.get(e.assets.get(entry["symbol"], ""), [])
        if not any(
            by_clock - 0.1 <= at <= by_clock + e.rules.send_s + 1
            for by_clock in (granted, granted - e.rules.clock_step_s)
            for at in times
        ):
            yield f"{entry['symbol']}: nothing arrived for the price of {granted:.3f}"
