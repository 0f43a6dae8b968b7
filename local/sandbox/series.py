"""Quotes and bars of every ticker at any time, from the walks of its two currencies."""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import mul, truediv
from typing import Final

from local.sandbox.hours import DAY_MS, day_of, open_spans
from local.sandbox.instruments import Instrument
from local.sandbox.walks import STEP_MS, STEPS, dollar_values
from market.tickers import AssetKind

MINUTE_MS: Final = 60_000
_LONGEST_PAUSE_DAYS: Final = 5


@dataclass(frozen=True, slots=True)
class SandboxBar:
    """One window of trading; `start_ms` is its first millisecond, `ticks` the number of prices."""

    start_ms: int
    open: float
    high: float
    low: float
    close: float
    volume: float
    vwap: float
    ticks: int


@dataclass(frozen=True, slots=True)
class Quote:
    """The market at one moment. `at_ms` is the time of the last tick, which in a closed market is
    long ago; a bar is None where nothing traded."""

    at_ms: int
    bid: float
    ask: float
    last: float
    size: float
    day: SandboxBar | None
    previous_day: SandboxBar | None
    minute: SandboxBar | None


@dataclass(frozen=True, slots=True)
class _Ticks:
    """A UTC day of one ticker on the grid of the walks. Volumes are whole lots, so that bars add
    up exactly; without lots each tick counts as 1."""

    prices: Sequence[float]
    lots: Sequence[int] | None


class Series:
    """The prices of all instruments: a pure function of ticker and time, shared by threads.

    Cost: the first question about a ticker and day computes 4,320 ticks (a few ms, 43 kB); the 600
    days used last are kept, or three for each instrument."""

    def __init__(self, instruments: Mapping[str, Instrument]) -> None:
        self.instruments = instruments
        kept = max(600, 3 * len(instruments))
        self._day = lru_cache(maxsize=kept)(self._compute_day)
        self._whole_day = lru_cache(maxsize=max(1000, kept))(self._compute_whole_day)

    def at(self, ticker: str, now_ms: int) -> Quote:
        """The last price at or before `now_ms`, with the bars a snapshot shows.

        `day` is the UTC day of `now_ms` so far, `previous_day` the last one before it that traded,
        `minute` the last minute of the day that has ended."""
        instrument = self.instruments[ticker]
        at_ms = _last_tick_ms(instrument.kind, now_ms)
        ticks = self._day(ticker, day_of(at_ms))
        index = at_ms % DAY_MS // STEP_MS
        price, half = ticks.prices[index], instrument.spread / 2
        lots = ticks.lots[index] if ticks.lots else 1
        return Quote(
            at_ms=at_ms,
            bid=round(price - half, instrument.digits),
            ask=round(price + half, instrument.digits),
            last=round(price, instrument.digits),
            size=_volume(lots, instrument),
            day=self._bar(ticker, day_of(now_ms) * DAY_MS, now_ms + 1),
            previous_day=self.previous_day(ticker, now_ms),
            minute=self._last_minute(ticker, now_ms),
        )

    def previous_day(self, ticker: str, now_ms: int) -> SandboxBar | None:
        """The bar of the last UTC day before that of `now_ms` in which anything traded."""
        today = day_of(now_ms)
        days = range(today - 1, today - 1 - _LONGEST_PAUSE_DAYS, -1)
        bars = (self._whole_day(ticker, day) for day in days)
        return next((bar for bar in bars if bar is not None), None)

    def bars(
        self, ticker: str, start_ms: int, end_ms: int, step_ms: int, *, now_ms: int | None = None
    ) -> list[SandboxBar]:
        """Bars whose windows start in [start, end), on multiples of the step since 1970.

        With `now_ms` nothing later than that has happened yet: the last window still grows. A
        window without a tick has no bar."""
        known_ms = end_ms + step_ms if now_ms is None else now_ms + 1
        first = -(-start_ms // step_ms) * step_ms
        windows = range(first, min(end_ms, known_ms), step_ms)
        found = (self._bar(ticker, at, min(at + step_ms, known_ms)) for at in windows)
        return [bar for bar in found if bar is not None]

    def _last_minute(self, ticker: str, now_ms: int) -> SandboxBar | None:
        ended_ms = now_ms // MINUTE_MS * MINUTE_MS
        at_ms = _last_tick_ms(self.instruments[ticker].kind, ended_ms - 1)
        if day_of(at_ms) < day_of(now_ms):
            return None
        start_ms = at_ms // MINUTE_MS * MINUTE_MS
        return self._bar(ticker, start_ms, start_ms + MINUTE_MS)

    def _compute_whole_day(self, ticker: str, day: int) -> SandboxBar | None:
        return self._bar(ticker, day * DAY_MS, (day + 1) * DAY_MS)

    def _bar(self, ticker: str, start_ms: int, end_ms: int) -> SandboxBar | None:
        prices: array[float] = array("d")
        lots: list[int] = []
        for ticks, begin, finish in self._parts(ticker, start_ms, end_ms):
            prices.extend(ticks.prices[begin:finish])
            lots.extend(ticks.lots[begin:finish] if ticks.lots else [1] * (finish - begin))
        if not prices:
            return None
        instrument = self.instruments[ticker]
        low, high = (round(end(prices), instrument.digits) for end in (min, max))
        mean = round(sum(map(mul, prices, lots)) / sum(lots), instrument.digits + 2)
        return SandboxBar(
            start_ms=start_ms,
            open=round(prices[0], instrument.digits),
            high=high,
            low=low,
            close=round(prices[-1], instrument.digits),
            volume=_volume(sum(lots), instrument),
            vwap=min(high, max(low, mean)),
            ticks=len(prices),
        )

    def _parts(self, ticker: str, start_ms: int, end_ms: int) -> Iterator[tuple[_Ticks, int, int]]:
        """The open parts of [start, end): a day's ticks, from which to before which."""
        for day in range(day_of(start_ms), day_of(end_ms - 1) + 1):
            for opens_ms, closes_ms in open_spans(self.instruments[ticker].kind, day):
                edges = max(opens_ms, start_ms), min(closes_ms, end_ms)
                begin, finish = (-(-(edge - day * DAY_MS) // STEP_MS) for edge in edges)
                if begin < finish:
                    yield self._day(ticker, day), begin, finish

    def _compute_day(self, ticker: str, day: int) -> _Ticks:
        instrument = self.instruments[ticker]
        base, quote = (dollar_values(side, day) for side in (instrument.base, instrument.quote))
        prices = array("d", map(truediv, base, quote))
        if instrument.kind is not AssetKind.CRYPTO:
            return _Ticks(prices, None)
        draw = random.Random(f"size:{ticker}:{day}")  # noqa: S311 - not a secret
        return _Ticks(prices, array("H", draw.choices(range(1, 20_000), k=STEPS)))


def _last_tick_ms(kind: AssetKind, now_ms: int) -> int:
    """When the market's last tick at or before `now_ms` came."""
    for day in range(day_of(now_ms), day_of(now_ms) - _LONGEST_PAUSE_DAYS - 1, -1):
        for opens_ms, closes_ms in reversed(open_spans(kind, day)):
            at_ms = min(now_ms, closes_ms - 1) // STEP_MS * STEP_MS
            if at_ms >= opens_ms:
                return at_ms
    raise LookupError(f"no {kind} market was open in {_LONGEST_PAUSE_DAYS} days")


def _volume(lots: int, instrument: Instrument) -> float:
    """Forex counts ticks; a coin's lot is about one dollar's worth, in a power of ten."""
    if instrument.kind is not AssetKind.CRYPTO:
        return float(lots)
    return round(lots * 10.0 ** -math.ceil(math.log10(instrument.base.usd_value)), 8)
