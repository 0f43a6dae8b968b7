"""Bars as candles: where each lies, which hours are closed, and where bars lack.

Horizontal positions are percentages, so that text keeps its size on any screen; vertical ones are
pixels.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from db.coverage import DayStatus
from db.reading import StoredBar
from market.coverage import SETTLES

HEIGHT = 300
TOP, BOTTOM = 14, 274
"""Between these lie the prices; the labels of time stand below."""
_GRID = 5
_FILL = 0.68
_LABELS = 6


@dataclass(frozen=True)
class Span:
    """A range of time that the picture shows, in bars of one length."""

    start: datetime
    end: datetime
    bar: timedelta

    def x(self, at: datetime) -> float:
        """The position of an instant, cut at both ends."""
        share = (at - self.start) / (self.end - self.start)
        return round(100 * min(1.0, max(0.0, share)), 3)

    @property
    def slots(self) -> list[datetime]:
        """The beginnings of all bars that may lie in it."""
        count = math.ceil((self.end - self.start) / self.bar)
        return [self.start + n * self.bar for n in range(count)]


@dataclass(frozen=True)
class Candle:
    """One bar as it is drawn."""

    bar: StoredBar
    x: float
    left: float
    width: float
    high: float
    low: float
    top: float
    height: float
    kind: str
    """rise, fall or flat"""
    change: float


@dataclass(frozen=True)
class Gap:
    """A stretch without bars: `closed` hours, a `hole`, or bars that are still `awaited`."""

    x: float
    width: float
    kind: str
    start: datetime
    end: datetime
    why: str = ""


@dataclass(frozen=True)
class Label:
    """A text on one of the axes."""

    at: float
    text: str


@dataclass(frozen=True)
class Chart:
    """Everything that the template draws."""

    candles: Sequence[Candle]
    gaps: Sequence[Gap]
    prices: Sequence[Label]
    times: Sequence[Label]
    low: Decimal
    high: Decimal

    def of(self, kind: str) -> list[Gap]:
        """The stretches of one kind."""
        return [gap for gap in self.gaps if gap.kind == kind]


def draw(
    bars: Sequence[StoredBar],
    span: Span,
    sessions: Sequence[tuple[datetime, datetime]],
    days: Mapping[date, DayStatus],
    now: datetime,
) -> Chart | None:
    """Draw the bars of the span; None: there is none. `days` is the coverage of its days.

    A bar of another program's that makes no sense (NaN, a low above its high) is left out.
    """
    sound = [bar for bar in bars if _is_sound(bar)]
    if not sound:
        return None
    low, high = min(bar.low for bar in sound), max(bar.high for bar in sound)
    scale = _Scale(float(low), float(high))
    gaps = [*_closed(span, sessions), *_holes(bars, span, sessions, days, now)]
    candles = [_candle(bar, span, scale) for bar in sound]
    return Chart(candles, gaps, scale.labels(), _times(span), low, high)


class _Scale:
    """Prices as pixels, with a little air above and below."""

    def __init__(self, low: float, high: float) -> None:
        air = (high - low) * 0.06 or abs(high) * 0.001 or 1.0
        self._low, self._high = low - air, high + air

    def y(self, price: Decimal | float) -> float:
        share = (float(price) - self._low) / (self._high - self._low)
        return round(BOTTOM - share * (BOTTOM - TOP), 1)

    def labels(self) -> list[Label]:
        """A few round prices."""
        raw = (self._high - self._low) / _GRID
        power = 10.0 ** math.floor(math.log10(raw))
        step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw)
        digits = max(0, -math.floor(math.log10(step)) + (1 if step / power == 2.5 else 0))
        first = math.ceil(self._low / step)
        found = []
        while first * step < self._high:
            text = f"{first * step:,.{digits}f}".replace(",", "\u202f")
            found.append(Label(self.y(first * step), text))
            first += 1
        return found


def _is_sound(bar: StoredBar) -> bool:
    prices = (bar.open, bar.high, bar.low, bar.close)
    return all(math.isfinite(price) for price in prices) and bar.low <= bar.high


def _candle(bar: StoredBar, span: Span, scale: _Scale) -> Candle:
    begins, ends = span.x(bar.ts), span.x(bar.ts + span.bar)
    width = (ends - begins) * _FILL
    top, foot = scale.y(max(bar.open, bar.close)), scale.y(min(bar.open, bar.close))
    kind = "rise" if bar.close > bar.open else "fall" if bar.close < bar.open else "flat"
    return Candle(
        bar,
        x=round((begins + ends) / 2, 3),
        left=round((begins + ends - width) / 2, 3),
        width=round(width, 3),
        high=scale.y(bar.high),
        low=scale.y(bar.low),
        top=top,
        height=round(max(1.0, foot - top), 1),
        kind=kind,
        change=float(bar.close / bar.open) - 1 if bar.open else 0.0,
    )


def _closed(span: Span, sessions: Iterable[tuple[datetime, datetime]]) -> list[Gap]:
    """The hours between the sessions."""
    found, at = [], span.start
    for opens, closes in [*sessions, (span.end, span.end)]:
        if opens > at:
            found.append(_gap(span, "closed", at, opens, "the market is closed"))
        at = max(at, closes)
    return found


def _holes(
    bars: Sequence[StoredBar],
    span: Span,
    sessions: Sequence[tuple[datetime, datetime]],
    days: Mapping[date, DayStatus],
    now: datetime,
) -> list[Gap]:
    """Stretches of sessions that are over and lack bars which the provider may have.

    No bar in a day that is whole is a quiet market: no tick, no bar.
    """
    there = {bar.ts.astimezone(UTC) for bar in bars}
    found: list[Gap] = []
    for start in span.slots:
        end = min(start + span.bar, span.end)
        open_ = any(opens < end and start < closes for opens, closes in sessions)
        if start in there or not open_ or start + span.bar > now - SETTLES:
            continue
        kind, why = _lack(days.get(start.astimezone(UTC).date()), end)
        if not kind:
            continue
        last = found[-1] if found else None
        if last and last.end == start and (last.kind, last.why) == (kind, why):
            start = found.pop().start
        found.append(_gap(span, kind, start, end, why))
    return found


def _lack(day: DayStatus | None, end: datetime) -> tuple[str, str]:
    """What no bar means on such a day; empty: nothing."""
    status = day.status if day else "missing"
    if status == "missing":
        return "hole", "never asked for"
    if status == "sparse":
        return "hole", "the day is sparse"
    asked_at = day.asked_at if day else None
    if status == "pending" and day and (not day.bars or asked_at is None or end > asked_at):
        return "awaited", "still to come"
    return "", ""


def _gap(span: Span, kind: str, start: datetime, end: datetime, why: str) -> Gap:
    x = span.x(start)
    return Gap(x, round(span.x(end) - x, 3), kind, start, end, why)


def _times(span: Span) -> list[Label]:
    """Round instants: midnights where the span is long, else hours."""
    length = span.end - span.start
    steps = [timedelta(hours=h) for h in (1, 2, 4, 6, 12, 24, 48, 120, 168, 336, 720)]
    step = next((s for s in steps if length / s <= _LABELS), timedelta(days=31))
    midnight = span.start.replace(hour=0, minute=0, second=0, microsecond=0)
    at = midnight + math.ceil((span.start - midnight) / step) * step
    found = []
    while at < span.end:
        by_day = step >= timedelta(days=1) or at.hour == at.minute == 0
        if 3 <= span.x(at) <= 97:
            found.append(Label(span.x(at), f"{at:%d %b}" if by_day else f"{at:%H:%M}"))
        at += step
    return found
