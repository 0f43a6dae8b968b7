"""Quotes and bars of every ticker at any time, from its track."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from operator import mul
from typing import Final

from local.sandbox.hours import DAY_MS, day_of, open_spans
from local.sandbox.instruments import Instrument
from local.sandbox.tracks import SyntheticTrack, Ticks, Track, TrackFor

MINUTE_MS: Final = 60_000
_LONGEST_PAUSE_DAYS: Final = 5
_LONG_PART: Final = 5000


@dataclass(frozen=True, slots=True)
class SandboxBar:
    """One window of trading; `start_ms` is its first millisecond, `ticks` how many prices."""

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
    """What the market looks like at one moment. `at_ms` is the time of the last tick, which in a
    closed market is long ago; bars are None where nothing traded."""

    at_ms: int
    bid: float
    ask: float
    last: float
    size: float
    day: SandboxBar | None
    previous_day: SandboxBar | None
    minute: SandboxBar | None


class Series:
    """Every instrument's prices; a pure function of ticker and time, safe to share by threads.

    Cost: the first question about a ticker and day builds about 4,300 ticks (some ms); later ones
    find them, as long as they stay among the 600 used last."""

    def __init__(self, instruments: Mapping[str, Instrument], tracks: TrackFor = SyntheticTrack):
        self.instruments = instruments
        self._tracks: dict[str, Track] = {name: tracks(i) for name, i in instruments.items()}
        self._day = lru_cache(maxsize=600)(self._load_day)

    def track(self, ticker: str) -> Track:
        return self._tracks[ticker]

    def at(self, ticker: str, now_ms: int) -> Quote:
        """The last price at or before `now_ms`, with the bars a snapshot shows.

        `day` is the UTC day of `now_ms` so far, `previous_day` the last one before that traded,
        `minute` the last minute that has ended on the day."""
        at_ms, price, size = self._last_tick(ticker, now_ms)
        instrument = self.instruments[ticker]
        return Quote(
            at_ms=at_ms,
            bid=round(price, instrument.digits),
            ask=round(price + instrument.spread, instrument.digits),
            last=round(price, instrument.digits),
            size=round(size, 8),
            day=self._bar(ticker, day_of(now_ms) * DAY_MS, now_ms + 1),
            previous_day=self.previous_day(ticker, now_ms),
            minute=self._last_minute(ticker, now_ms),
        )

    def _last_minute(self, ticker: str, now_ms: int) -> SandboxBar | None:
        ended_ms = now_ms // MINUTE_MS * MINUTE_MS
        at_ms, _, _ = self._last_tick(ticker, ended_ms - 1)
        if at_ms < day_of(now_ms) * DAY_MS:
            return None
        start_ms = at_ms // MINUTE_MS * MINUTE_MS
        return self._bar(ticker, start_ms, start_ms + MINUTE_MS)

    def previous_day(self, ticker: str, now_ms: int) -> SandboxBar | None:
        """The bar of the last UTC day before that of `now_ms` in which anything traded."""
        for day in range(day_of(now_ms) - 1, day_of(now_ms) - 1 - _LONGEST_PAUSE_DAYS, -1):
            if (bar := self._bar(ticker, day * DAY_MS, (day + 1) * DAY_MS)) is not None:
                return bar
        return None

    def bars(
        self, ticker: str, start_ms: int, end_ms: int, step_ms: int, *, now_ms: int | None = None
    ) -> list[SandboxBar]:
        """Bars whose windows start in [start, end); windows lie on multiples of the step since
        1970. With `now_ms` nothing later than that has happened yet, so the last window is still
        growing. A window without a tick has no bar."""
        known_ms = end_ms + step_ms if now_ms is None else now_ms + 1
        first = -(-start_ms // step_ms) * step_ms
        windows = range(first, min(end_ms, known_ms), step_ms)
        found = (self._bar(ticker, at, min(at + step_ms, known_ms)) for at in windows)
        return [bar for bar in found if bar is not None]

    def _bar(self, ticker: str, start_ms: int, end_ms: int) -> SandboxBar | None:
        parts = [
            _totals(ticks, begin, finish)
            if finish - begin > _LONG_PART
            else _totals.__wrapped__(ticks, begin, finish)
            for ticks, begin, finish in self._parts(ticker, start_ms, end_ms)
            if begin < finish
        ]
        if not parts:
            return None
        digits = self.instruments[ticker].digits
        volume = sum(part.volume for part in parts)
        turnover = sum(part.turnover for part in parts)
        high = round(max(part.high for part in parts), digits)
        low = round(min(part.low for part in parts), digits)
        mean = round(turnover / volume if volume else parts[-1].close, digits + 2)
        return SandboxBar(
            start_ms=start_ms,
            open=round(parts[0].open, digits),
            high=high,
            low=low,
            close=round(parts[-1].close, digits),
            volume=round(volume, 8),
            vwap=min(high, max(low, mean)),
            ticks=sum(part.ticks for part in parts),
        )

    def _parts(self, ticker: str, start_ms: int, end_ms: int) -> Iterator[tuple[Ticks, int, int]]:
        """The open parts of [start, end): ticks of a day, and from which to before which."""
        for day in range(day_of(start_ms), day_of(end_ms - 1) + 1):
            ticks, spans = self._day(ticker, day)
            begin = bisect_left(ticks.times_ms, start_ms - day * DAY_MS)
            finish = bisect_left(ticks.times_ms, end_ms - day * DAY_MS)
            for first, last in spans:
                yield ticks, max(first, begin), min(last, finish)

    def _last_tick(self, ticker: str, now_ms: int) -> tuple[int, float, float]:
        for day in range(day_of(now_ms), day_of(now_ms) - _LONGEST_PAUSE_DAYS - 1, -1):
            ticks, spans = self._day(ticker, day)
            until = bisect_right(ticks.times_ms, now_ms - day * DAY_MS)
            ends = [min(last, until) for first, last in spans if first < min(last, until)]
            if ends:
                index = max(ends) - 1
                size = ticks.sizes[index] if ticks.sizes else 1.0
                return day * DAY_MS + ticks.times_ms[index], ticks.prices[index], size
        raise LookupError(f"{ticker} has no price in {_LONGEST_PAUSE_DAYS} days")

    def _load_day(self, ticker: str, day: int) -> tuple[Ticks, tuple[tuple[int, int], ...]]:
        """The track's ticks of a day, and which stretches of them lie in open hours."""
        ticks = self._tracks[ticker].day(day)
        spans = open_spans(self.instruments[ticker].kind, day)
        return ticks, tuple(
            (
                bisect_left(ticks.times_ms, start - day * DAY_MS),
                bisect_left(ticks.times_ms, end - day * DAY_MS),
            )
            for start, end in spans
        )


@dataclass(frozen=True, slots=True)
class _Totals:
    open: float
    high: float
    low: float
    close: float
    volume: float
    turnover: float
    ticks: int


@lru_cache(maxsize=64)  # only for long parts: a day of recorded ticks is the same every day
def _totals(ticks: Ticks, begin: int, finish: int) -> _Totals:
    prices = ticks.prices[begin:finish]
    if ticks.sizes is None:
        volume, turnover = float(len(prices)), sum(prices)
    else:
        sizes = ticks.sizes[begin:finish]
        volume, turnover = sum(sizes), sum(map(mul, prices, sizes))
    return _Totals(
        open=prices[0],
        high=max(prices),
        low=min(prices),
        close=prices[-1],
        volume=volume,
        turnover=turnover,
        ticks=len(prices),
    )
