"""From the provider's words to prices and bars: which figure is the price, and what is none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import structlog
from pydantic import ValidationError

from market.errors import BadAnswer
from market.models import Envelope, WireBar, WireQuote, WireTrade
from market.quotes import Answer, Bar, Delay, Missing, Observation, Price
from market.tickers import AssetKind, asset_kind, check_ticker

log = structlog.get_logger(__name__)

_MINUTE: Final = timedelta(minutes=1)
_BAR: Final = timedelta(minutes=5)
_CLOCK_SLACK: Final = timedelta(minutes=2)
"""A price from further ahead than this is refused: no later price could ever replace it."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A price that might be the latest, with its own time."""

    price: Decimal | None
    at: datetime | None
    timeframe: str | None = None


def malformed(exc: ValidationError) -> str:
    """Where and why an answer is not what it should be, without what stood there."""
    first = exc.errors(include_input=False, include_url=False)[0]
    place = ".".join(str(part) for part in first["loc"]) or "the answer"
    return f"malformed: {place}: {first['msg']}"


def quote_and_trade(ticker: str, quote: WireQuote, trade: WireTrade) -> tuple[Candidate, Candidate]:
    """Quote and trade in the order in which they make a price for this kind of asset."""
    quoted = Candidate(quote.mid, quote.at, quote.timeframe)
    traded = Candidate(trade.price, trade.at, trade.timeframe)
    if asset_kind(ticker) is AssetKind.CRYPTO:
        return traded, quoted
    return quoted, traded


def end_of_minute(minute: WireBar, now: datetime) -> datetime | None:
    """As of when a minute's close is true; a minute that still runs is true until now."""
    return min(minute.start + _MINUTE, now) if minute.start else None


def observe(
    ticker: str,
    candidates: Iterable[Candidate],
    quote: WireQuote,
    day: WireBar,
    *,
    source: str,
    delay: Delay,
    now: datetime,
) -> Observation | Missing:
    """The first candidate that has a price and a time, with the quote and the day around it."""
    if quote.is_crossed:
        return Missing(ticker, "crossed quote: the ask is below the bid")
    for candidate in candidates:
        if candidate.price is None or candidate.at is None:
            continue
        if candidate.at > now + _CLOCK_SLACK:
            return Missing(ticker, f"a price from the future: {candidate.at.isoformat()}")
        price = Price(
            last=candidate.price,
            as_of=candidate.at,
            source=source,
            delay=Delay.DELAYED if candidate.timeframe == "DELAYED" else delay,
            bid=quote.bid,
            ask=quote.ask,
            daily_open=day.open,
            daily_high=day.high,
            daily_low=day.low,
            daily_close=day.close,
        )
        return Observation(ticker, price)
    return Missing(ticker, "no price with a time in the answer")


def read_bars(ticker: str, rows: Iterable[Any], now: datetime) -> tuple[Bar, ...]:
    """Completed, well-formed five-minute bars in order of time, each start once.

    A row of the wrong types makes the answer bad; one whose prices cannot be true (a zero, a high
    below its low) is dropped with a log line, since it comes back the same on every call."""
    bars: dict[datetime, Bar] = {}
    for row in rows:
        try:
            bar = WireBar.model_validate(row)
        except ValidationError as exc:
            raise BadAnswer(malformed(exc), status=200) from None
        start, ohlc = bar.start, bar.ohlc
        if start is None or ohlc is None or int(start.timestamp()) % _BAR.seconds:
            log.warning("bar.dropped", ticker=ticker, start=str(start))
        elif start + _BAR <= now:
            volume = max(bar.volume or Decimal(0), Decimal(0))
            bars[start] = Bar(start, *ohlc, volume, bar.vwap, bar.trades)
    return tuple(bars[start] for start in sorted(bars))


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
    )


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
