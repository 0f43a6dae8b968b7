"""From the provider's words to prices and bars: which figure is the price, and what is none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import structlog
from pydantic import ValidationError

from market.errors import BadAnswer
from market.models import Envelope, WireBar, WireQuote, WireTrade
from market.plausibility import Candidate, Range, weigh
from market.quotes import Answer, Bar, Basis, Delay, Dropped, Missing, Observation, Price
from market.tickers import AssetKind, asset_kind, check_ticker

log = structlog.get_logger(__name__)

_MINUTE: Final = timedelta(minutes=1)
_BAR: Final = timedelta(minutes=5)
_ROUNDING: Final = Decimal("1e-6")
"""How far, as a part of itself, a high may lie below the open or close of its bar (and a low above
them) where the provider has only rounded them differently."""


def malformed(exc: ValidationError) -> str:
    """Where and why an answer is not what it should be, without what stood there."""
    first = exc.errors(include_input=False, include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "the answer"
    return f"malformed: {place}: {first['msg']}"


def rows_by_ticker(listed: Any, name: str) -> dict[str, Any]:
    """The rows of an answer about a whole market by the ticker that each has under `name`; what is
    no such row is left out."""
    return {
        row[name]: row
        for row in (listed if isinstance(listed, list) else ())
        if isinstance(row, dict) and isinstance(row.get(name), str)
    }


def candidates_of(
    ticker: str,
    quote: WireQuote,
    trade: WireTrade,
    minute: WireBar,
    session: Candidate,
    now: datetime,
) -> tuple[Candidate, ...]:
    """The figures of a snapshot in the order in which they make a price for this kind of asset."""
    quoted = Candidate(
        Basis.QUOTE, quote.mid, quote.at, quote.timeframe == "DELAYED", quote.bid, quote.ask
    )
    traded = Candidate(Basis.TRADE, trade.price, trade.at, trade.timeframe == "DELAYED")
    ended_at = min(minute.start + _MINUTE, now) if minute.start else None
    last_minute = Candidate(Basis.MINUTE, minute.close, minute.last_updated or ended_at)
    crypto = asset_kind(ticker) is AssetKind.CRYPTO
    first, second = (traded, quoted) if crypto else (quoted, traded)
    return first, second, last_minute, session


def observe(
    ticker: str,
    candidates: Sequence[Candidate],
    day: WireBar,
    minute: WireBar,
    *,
    source: str,
    delay: Delay,
    now: datetime,
) -> Observation | Missing:
    """The figure that the answer as a whole supports as price, with the quote and the day."""
    verdict = weigh(ticker, candidates, [*_ranges(day, minute)], now)
    if verdict.chosen is None or verdict.chosen.price is None or verdict.as_of is None:
        return Missing(ticker, "; ".join(("no price in the answer", *verdict.fallen)))
    if verdict.fallen:
        log.warning("price.figures_refused", ticker=ticker, refused=verdict.fallen)
    price = Price(
        last=verdict.chosen.price,
        as_of=verdict.as_of,
        source=source,
        delay=Delay.DELAYED if verdict.chosen.delayed else delay,
        bid=verdict.quote.bid if verdict.quote else None,
        ask=verdict.quote.ask if verdict.quote else None,
        daily_open=day.open,
        daily_high=day.high,
        daily_low=day.low,
        daily_close=day.close,
        basis=verdict.chosen.basis,
        supported=verdict.supported,
    )
    return Observation(ticker, price)


def _ranges(*bars: WireBar) -> Iterable[Range]:
    for bar in bars:
        if bar.low is not None and bar.high is not None and bar.low <= bar.high:
            yield Range(bar.low, bar.high)


def read_bars(
    ticker: str, rows: Iterable[Any], now: datetime
) -> tuple[tuple[Bar, ...], tuple[Dropped, ...]]:
    """Completed five-minute bars in order of time, each start once; and the rows that are none.

    A row that cannot be true (a zero, a high far below the close, a negative count) costs itself
    alone, since it comes back the same on every call. BadAnswer where not one row can be read."""
    bars: dict[datetime, Bar] = {}
    dropped, rows = [], list(rows)
    for row in rows:
        found = _read_bar(row)
        if isinstance(found, Dropped):
            dropped.append(found)
        elif found.start + _BAR <= now:
            bars[found.start] = found
    if dropped:
        log.warning("bars.dropped", ticker=ticker, bars=[str(d) for d in dropped[:10]])
    if rows and all(d.start is None for d in dropped) and len(dropped) == len(rows):
        raise BadAnswer(dropped[0].why, status=200)
    return tuple(bars[start] for start in sorted(bars)), tuple(dropped)


def _read_bar(row: Any) -> Bar | Dropped:
    try:
        bar = WireBar.model_validate(row)
    except ValidationError as exc:
        return Dropped(_start_of(row), malformed(exc))
    if bar.start is None or int(bar.start.timestamp()) % _BAR.seconds:
        return Dropped(bar.start, "does not begin at a full five minutes")
    ohlc = ohlc_of(bar)
    if ohlc is None:
        return Dropped(bar.start, "its prices cannot be of the same five minutes")
    volume = max(bar.volume or Decimal(0), Decimal(0))
    return Bar(bar.start, *ohlc, volume, bar.vwap, bar.trades)


def _start_of(row: Any) -> datetime | None:
    """The time of a row that is no bar, to name it by."""
    try:
        return WireBar.model_validate({"t": row.get("t")}).start
    except (AttributeError, ValidationError):
        return None


def ohlc_of(bar: WireBar) -> tuple[Decimal, Decimal, Decimal, Decimal] | None:
    """Open, high, low and close if all can be true of the same time. A high and a low that differ
    from them by a rounding error are widened."""
    if bar.open is None or bar.high is None or bar.low is None or bar.close is None:
        return None
    low, high = min(bar.open, bar.close), max(bar.open, bar.close)
    if bar.low > low * (1 + _ROUNDING) or bar.high < high * (1 - _ROUNDING):
        return None
    return bar.open, max(high, bar.high), min(low, bar.low), bar.close


def price_of(bars: Sequence[Bar], source: str, delay: Delay) -> Price:
    """The close of the last bar as a price, with the figures of that bar's UTC day so far."""
    last = bars[-1]
    day = [bar for bar in bars if bar.start.date() == last.start.date()]
    return Price(
        last=last.close,
        as_of=last.start + _BAR,
        source=source,
        delay=delay,
        daily_open=day[0].open,
        daily_high=max(bar.high for bar in day),
        daily_low=min(bar.low for bar in day),
        daily_close=last.close,
        basis=Basis.BAR,
        supported=any(_reaches(bar, last.close) for bar in bars[:-1]),
    )


def _reaches(bar: Bar, price: Decimal) -> bool:
    """The range of a bar, widened by half, holds the price."""
    return bar.low <= price * Decimal("1.5") and price <= bar.high * Decimal("1.5")


def only_ticker(tickers: Sequence[str]) -> str:
    """The one ticker of a call that takes one."""
    if len(tickers) != 1:
        raise ValueError(f"{len(tickers)} tickers for a call that takes one")
    return check_ticker(tickers[0])


def read_envelope(body: Mapping[str, Any]) -> Envelope:
    """What surrounds the results; BadAnswer if it is not as it should be."""
    try:
        return Envelope.model_validate(body)
    except ValidationError as exc:
        raise BadAnswer(malformed(exc), status=200) from None


def said_status(body: Mapping[str, Any]) -> str:
    """The body's own status in capitals, "" if it has none."""
    return str(body.get("status") or "").upper()


def answer_of(found: Iterable[Observation | Missing], *, cut_short: bool = False) -> Answer:
    """An answer from what was found for each ticker."""
    observations: dict[str, Observation] = {}
    missing: dict[str, Missing] = {}
    for one in found:
        if isinstance(one, Missing):
            missing[one.ticker] = one
        else:
            observations[one.ticker] = one
    return Answer(observations, missing, cut_short)
