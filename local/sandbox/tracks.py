"""Tracks: where the prices of one ticker come from, as ticks of a UTC day."""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from itertools import accumulate
from operator import truediv
from statistics import NormalDist
from typing import Final, Protocol

from local.sandbox.hours import DAY_MS
from local.sandbox.instruments import Currency, Instrument
from market.tickers import AssetKind

STEP_MS: Final = 20_000  # one made-up tick every 20 s
_STEPS: Final = DAY_MS // STEP_MS
_SWING_DAYS: Final = (3, 13, 59, 241)  # slow waves that carry the level from day to day


class Label(StrEnum):
    """How much of a series the market really traded."""

    RECORDED = "recorded"
    INTERPOLATED = "interpolated"
    SYNTHETIC = "synthetic"


@dataclass(frozen=True, slots=True, eq=False)
class Ticks:
    """Prices of one UTC day: times in ms since its start, rising; sizes None: each counts as 1.
    Compared by identity: a track may return the same object for many days."""

    times_ms: Sequence[int]
    prices: Sequence[float]
    sizes: Sequence[float] | None = None


class Track(Protocol):
    """Ticks of any day, the same ones whenever asked."""

    @property
    def label(self) -> Label: ...
    @property
    def source(self) -> str: ...
    def day(self, day: int) -> Ticks: ...


@dataclass(frozen=True, slots=True)
class SyntheticTrack:
    """A seeded random walk that depends on nothing but ticker and time.

    Each currency has a walk of its own in US dollars and a pair is their quotient, so that crosses
    agree with each other as they do in the market."""

    instrument: Instrument
    label: Label = Label.SYNTHETIC
    source: str = "seeded random walk at a realistic level, not market data"

    def day(self, day: int) -> Ticks:
        base = _dollar_values(self.instrument.base, day)
        quote = _dollar_values(self.instrument.quote, day)
        return Ticks(_GRID_MS, array("d", map(truediv, base, quote)), self._sizes(day))

    def _sizes(self, day: int) -> Sequence[float] | None:
        if self.instrument.kind is not AssetKind.CRYPTO:
            return None
        draw = random.Random(f"size:{self.instrument.ticker}:{day}")  # noqa: S311 - not a secret
        typical = 20_000 / self.instrument.base.usd_value
        return array("d", (typical * draw.random() for _ in range(_STEPS)))


_GRID_MS: Final = array("q", range(0, DAY_MS, STEP_MS))
_BELL: Final = [NormalDist().inv_cdf((i + 0.5) / 4096) for i in range(4096)]  # a fast gauss()


@lru_cache(maxsize=256)
def _dollar_values(currency: Currency, day: int) -> array[float]:
    """A day of one currency's value: a random walk pinned to its level at both midnights."""
    if currency.yearly_volatility == 0:
        return array("d", [currency.usd_value]) * _STEPS
    daily = currency.yearly_volatility / math.sqrt(365)
    at_start, at_end = _log_level(currency, daily, day), _log_level(currency, daily, day + 1)
    draw = random.Random(f"walk:{currency.code}:{day}")  # noqa: S311 - not a secret
    strays = draw.choices(_BELL, k=_STEPS)
    step = daily / math.sqrt(_STEPS)
    tilt = (at_end - at_start - step * sum(strays)) / _STEPS
    walk = accumulate((step * stray + tilt for stray in strays[:-1]), initial=at_start)
    return array("d", map(math.exp, walk))


def _log_level(currency: Currency, daily: float, day: int) -> float:
    """Log value at a day's midnight: waves of several lengths, each as high as a walk gets."""
    level = math.log(currency.usd_value)
    for period in _SWING_DAYS:
        index, rest = divmod(day, period)
        share = (1 - math.cos(math.pi * rest / period)) / 2
        before, after = (_knot(currency.code, period, index + side) for side in (0, 1))
        level += 0.5 * daily * math.sqrt(period) * (before * (1 - share) + after * share)
    return level


@lru_cache(maxsize=8192)
def _knot(code: str, period: int, index: int) -> float:
    return random.Random(f"knot:{code}:{period}:{index}").gauss(0, 1)  # noqa: S311 - not a secret


TrackFor = Callable[[Instrument], Track]
