"""What each currency is worth in US dollars, every 20 s of any day: the one source of all prices.

A walk depends on nothing but currency and time, and every pair is the quotient of two walks. So
pairs agree with each other at every instant, as they do in the market."""

from __future__ import annotations

import math
import random
from array import array
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, compress
from statistics import NormalDist
from typing import Final

from local.sandbox.hours import DAY_MS, is_open
from local.sandbox.instruments import Currency
from market.tickers import AssetKind

STEP_MS: Final = 20_000
STEPS: Final = DAY_MS // STEP_MS
_SWING_DAYS: Final = (3, 13)  # slow waves that carry the level from day to day
_BELL: Final = [NormalDist().inv_cdf((i + 0.5) / 4096) for i in range(4096)]  # a fast gauss()


@lru_cache(maxsize=512)
def dollar_values(currency: Currency, day: int) -> array[float]:
    """A UTC day of one currency: a random walk that meets its level at both midnights.

    Coins always move. Currencies and metals move only while metals trade, the shortest hours of
    all: a closed market thereby shows the price that open ones imply."""
    if currency.yearly_volatility == 0:
        return array("d", [currency.usd_value]) * STEPS
    is_coin = currency.kind == "crypto"
    moves = [True] * STEPS if is_coin else _moves_of_metals(day)
    daily = currency.yearly_volatility / math.sqrt(365)
    before, after = (
        _log_level(currency, daily, midnight if is_coin else _trading_day(midnight))
        for midnight in (day, day + 1)
    )
    draw = random.Random(f"walk:{currency.code}:{day}")  # noqa: S311 - not a secret
    scale = daily / math.sqrt(STEPS)
    strays = [scale * stray for stray in draw.choices(_BELL, k=STEPS)]
    tilt = (after - before - sum(compress(strays, moves))) / max(1, sum(moves))
    steps = (stray + tilt if moved else 0.0 for stray, moved in zip(strays, moves, strict=True))
    walk = list(accumulate(steps, initial=before))
    return array("d", map(math.exp, walk[:STEPS]))


@lru_cache(maxsize=64)
def _moves_of_metals(day: int) -> Sequence[bool]:
    """Whether the price moves into the next point, for each point of the day."""
    first = day * DAY_MS + STEP_MS
    return [is_open(AssetKind.METAL, first + step * STEP_MS) for step in range(STEPS)]


def _trading_day(day: int) -> int:
    """The number of weekdays since 1970 (a Thursday); a weekend counts as the Saturday."""
    weeks, weekday = divmod(day + 3, 7)
    return 5 * weeks + min(weekday, 5)


def _log_level(currency: Currency, daily: float, day: int) -> float:
    """The logarithm of the value at the beginning of a day: waves as high as a walk gets."""
    level = math.log(currency.usd_value)
    for period in _SWING_DAYS:
        index, rest = divmod(day, period)
        share = (1 - math.cos(math.pi * rest / period)) / 2
        last, following = (_knot(currency.code, period, index + side) for side in (0, 1))
        level += 0.5 * daily * math.sqrt(period) * (last * (1 - share) + following * share)
    return level


@lru_cache(maxsize=8192)
def _knot(code: str, period: int, index: int) -> float:
    return random.Random(f"knot:{code}:{period}:{index}").gauss(0, 1)  # noqa: S311 - not a secret
