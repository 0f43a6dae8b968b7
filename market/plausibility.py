"""Which figure of an answer is the price: its candidates are weighed against each other.

One bad figure must cost that figure, not the price, and must never become the price. So:

1. Each candidate is looked at alone. One without a price or a time, one from the future, a quote
   whose ask is below its bid, and a quote with a spread that no market has, falls.
2. The others are weighed together. A candidate is supported by each other figure of the answer that
   is near to it; the best supported one and those near to it stay.
3. Of these the preferred one is the price, unless another is clearly newer.

What nothing else in the answer supports is still used, and says so (`supported`): the store keeps
it aside if it is also far from the price that is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from types import MappingProxyType
from typing import Final

from market.hours import is_open, last_close
from market.quotes import Basis
from market.tickers import AssetKind, asset_kind

CLOCK_SLACK: Final = timedelta(minutes=2)
"""A price from further ahead than this is none: no later price could ever replace it."""
OUTDATED_AFTER: Final = timedelta(minutes=2)
"""A preferred candidate gives way to one that is newer by more than this: a minute bar ends up to a
minute after its last quote, and reaches the snapshot some seconds later."""
UPDATE_SLACK: Final = timedelta(minutes=15)
"""The same for the session's own time, which tells when the snapshot changed, not when anything
was traded: on a delayed plan it is about the time of the answer."""


@dataclass(frozen=True, slots=True)
class Tolerances:
    """How far figures of one answer may lie apart and still tell of the same market.

    The reasons are real markets: the widest regular spreads of exotic currencies at the weekend's
    edges are some 2 %, those of small coins some 5 %. The Swiss franc rose 30 % within minutes in
    2015, but such a move shows in several figures at once; a single figure alone must not lie
    further away than a hard minute takes it (10 % are known for large coins)."""

    spread: Decimal
    """Widest spread of a quote, as a part of its middle."""
    apart: Decimal
    """Furthest distance between two figures that support each other, as a part of the lower."""


TOLERANCES: Final = MappingProxyType(
    {
        AssetKind.FOREX: Tolerances(spread=Decimal("0.05"), apart=Decimal("0.15")),
        AssetKind.METAL: Tolerances(spread=Decimal("0.05"), apart=Decimal("0.15")),
        AssetKind.CRYPTO: Tolerances(spread=Decimal("0.15"), apart=Decimal("0.30")),
    }
)


def jumps_of(forex_percent: float, crypto_percent: float) -> dict[AssetKind, Decimal]:
    """How far from the stored price one of each kind is believed at once that nothing else in its
    answer supports, as a part of the lower of the two."""
    forex, crypto = (Decimal(str(percent)) / 100 for percent in (forex_percent, crypto_percent))
    return {AssetKind.FOREX: forex, AssetKind.METAL: forex, AssetKind.CRYPTO: crypto}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A figure that might be the price, with its own time.

    `bid` and `ask` are a quote's; `approximate` says that `at` is only when the answer changed."""

    basis: Basis
    price: Decimal | None
    at: datetime | None
    delayed: bool = False
    bid: Decimal | None = None
    ask: Decimal | None = None
    approximate: bool = False


@dataclass(frozen=True, slots=True)
class Range:
    """Lowest and highest price of a stretch of time (the day so far, the last minute)."""

    low: Decimal
    high: Decimal


@dataclass(frozen=True, slots=True)
class Verdict:
    """The candidate that is the price, or None; and what fell, each with its reason."""

    chosen: Candidate | None = None
    as_of: datetime | None = None
    supported: bool = False
    quote: Candidate | None = None
    """The quote, if it is true at the same time; it need not be the price."""
    fallen: tuple[str, ...] = ()


def weigh(
    ticker: str, candidates: Sequence[Candidate], ranges: Sequence[Range], now: datetime
) -> Verdict:
    """Choose the price among `candidates`, which come in order of preference.

    `ranges` are those of the answer; `now` is the time of the call's grant. Pure."""
    tolerances = TOLERANCES[asset_kind(ticker)]
    sound, fallen = [], []
    for candidate in candidates:
        if candidate.price is None:
            continue
        if why := _flaw(candidate, tolerances, now):
            fallen.append(f"{candidate.basis}: {why}")
        else:
            sound.append(candidate)
    if not sound:
        return Verdict(fallen=tuple(fallen))
    support = [_support(one, sound, ranges, tolerances) for one in sound]
    best = sound[support.index(max(support))]
    near = [one for one in sound if _near(one, best, tolerances)]
    fallen += [
        f"{one.basis}: {one.price} is far from the rest of the answer"
        for one in sound
        if one not in near
    ]
    chosen = _freshest(near)
    quotes = (one for one in near if one.basis is Basis.QUOTE and not _outdates(chosen, one))
    return Verdict(
        chosen, _as_of(ticker, chosen, now), max(support) > 0, next(quotes, None), tuple(fallen)
    )


def _flaw(candidate: Candidate, tolerances: Tolerances, now: datetime) -> str | None:
    """Why a candidate cannot be a price, whatever the others say."""
    if candidate.at is None:
        return "no time of its own"
    if candidate.at > now + CLOCK_SLACK:
        return f"from the future ({candidate.at.isoformat()})"
    if candidate.bid is None or candidate.ask is None or candidate.price is None:
        return None
    if candidate.ask < candidate.bid:
        return f"crossed, ask {candidate.ask} below bid {candidate.bid}"
    if candidate.ask - candidate.bid > tolerances.spread * candidate.price:
        return f"a spread from {candidate.bid} to {candidate.ask}"
    return None


def _support(
    one: Candidate, sound: Sequence[Candidate], ranges: Sequence[Range], tolerances: Tolerances
) -> int:
    """How many other figures of the answer say the same. The ranges do as one: a feed that errs
    about its day errs about all of it."""
    others = sum(_near(one, other, tolerances) for other in sound if other is not one)
    price = one.price or Decimal(0)
    reach = 1 + tolerances.apart
    inside = any(r.low <= price * reach and price <= r.high * reach for r in ranges)
    return others + inside


def _near(one: Candidate, other: Candidate, tolerances: Tolerances) -> bool:
    low, high = sorted((one.price or Decimal(0), other.price or Decimal(0)))
    return high <= low * (1 + tolerances.apart)


def _freshest(near: Sequence[Candidate]) -> Candidate:
    """The first that no other candidate makes outdated."""
    for one in near:
        newer = (other for other in near if other is not one)
        if not any(_outdates(other, one) for other in newer):
            return one
    return near[0]  # cannot be: the newest is never outdated


def _outdates(other: Candidate, one: Candidate) -> bool:
    if other.at is None or one.at is None:
        return False
    slack = UPDATE_SLACK if other.approximate else OUTDATED_AFTER
    return other.at > one.at + slack


def _as_of(ticker: str, chosen: Candidate, now: datetime) -> datetime | None:
    """When the price was true: not after now, and not after the close of a closed market."""
    if chosen.at is None:
        return None
    at = min(chosen.at, now) if chosen.approximate else chosen.at
    return at if is_open(ticker, at) else (last_close(ticker, at) or at)
