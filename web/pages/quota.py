"""GET /quota: what the calls bought, what they left unused, and what that leads to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from flask import Response

from db.calls import Refusal, refusals
from db.hours import KEEP_DAYS, HourFigures, HourLog
from health.facts import Facts, State
from health.texts import utc
from health.usage import DAY, HOUR, Usage, capacity, history_whole_at
from web.database import Away
from web.site import render, site

HEIGHT = 180
_TOP = 16
_KEPT = timedelta(days=KEEP_DAYS)
SNAPSHOT = 250
"""Tickers of one call on a plan that counts no calls."""


@dataclass(frozen=True)
class Column:
    """The calls of one hour or day as a stacked bar; positions in percent and pixels."""

    at: datetime
    figures: HourFigures | None
    """None: nothing was noted."""
    x: float
    width: float
    pieces: tuple[tuple[str, float, float], ...] = ()
    """(kind, y, height), from below."""
    label: str = ""


@dataclass(frozen=True)
class Columns:
    """A picture of calls over time."""

    columns: Sequence[Column]
    highest: int
    allowed: int | None
    """Calls that the plan allows; None: it counts none."""
    limit_y: float | None
    """Where that lies; None: nowhere, or far above what was made."""


@dataclass(frozen=True)
class Outlook:
    """What comes at this rate."""

    empty_ms: int | None
    """When the queue is empty; None: that is not known."""
    why: str | None
    lacking: int | None
    """Calls until all series are whole, as of the last secondary round."""
    whole_ms: int | None
    empty_at: str
    whole_at: str
    """The same instants in words."""
    unlimited_calls: int | None
    """What a plan that counts no calls would need for all prices and series."""


def show() -> Response:
    """Answer with the page."""
    here = site()
    facts = here.observer.look()
    now = utc(facts.now_ms)
    context, away = here.observer.context, None
    hours: list[HourFigures] = []
    days: list[HourFigures] = []
    causes: dict[str, float] = {}
    refused: list[Refusal] = []
    try:
        with here.database.connection(facts.database) as connection:
            log = HourLog(connection, context.keys.provider)
            hours, days = log.hours(now - DAY - HOUR), log.days(now - _KEPT)
            causes = log.causes(now - _KEPT)
            refused = refusals(connection, now - DAY)
    except Away as error:
        away = str(error)
    usage = Usage.of(hours, now)
    window_ms = context.queue.policy.window_ms
    limit = facts.state.quota.limit if facts.state else None
    return render(
        "quota.html",
        "Quota",
        facts,
        state=facts.state,
        away=away,
        usage=usage,
        causes_kept=causes,
        refused=refused,
        limit=limit,
        window_ms=window_ms,
        allowed=capacity(limit, window_ms, usage.observed),
        by_hour=_by_hour(hours, now, capacity(limit, window_ms, HOUR)),
        by_day=_by_day(days, now, capacity(limit, window_ms, DAY)),
        since=days[0].hour if days else None,
        outlook=_outlook(facts, facts.state, hours, usage, now) if facts.state else None,
        height=HEIGHT,
    )


def _by_hour(hours: Sequence[HourFigures], now: datetime, allowed: int | None) -> Columns:
    this = now.replace(minute=0, second=0, microsecond=0)
    known = {one.hour.astimezone(UTC): one for one in hours}
    instants = [this - n * HOUR for n in reversed(range(24))]
    return _columns([(at, known.get(at), f"{at:%H:%M}") for at in instants], allowed, every=4)


def _by_day(days: Sequence[HourFigures], now: datetime, allowed: int | None) -> Columns:
    known = {one.hour.astimezone(UTC).date(): one for one in days}
    dates = [now.date() - timedelta(days=n) for n in reversed(range(KEEP_DAYS))]
    rows = [
        (datetime(d.year, d.month, d.day, tzinfo=UTC), known.get(d), f"{d:%d %b}") for d in dates
    ]
    return _columns(rows, allowed, every=15)


def _columns(
    rows: Sequence[tuple[datetime, HourFigures | None, str]], allowed: int | None, *, every: int
) -> Columns:
    highest = max((one.calls for _, one, _ in rows if one), default=0)
    near = allowed is not None and allowed <= 3 * max(highest, 1)
    top = max(highest, allowed or 0 if near else 0, 1)
    step = 100 / len(rows)
    scale = (HEIGHT - _TOP) / top
    found = []
    for number, (at, figures, text) in enumerate(rows):
        label = text if (number + 1) % every == 0 else ""
        pieces = _pieces(figures, scale) if figures else ()
        left = round(number * step + step * 0.14, 3)
        found.append(Column(at, figures, left, round(step * 0.72, 3), pieces, label))
    limit_y = round(HEIGHT - (allowed or 0) * scale, 1) if near else None
    return Columns(found, highest, allowed, limit_y)


def _pieces(figures: HourFigures, scale: float) -> tuple[tuple[str, float, float], ...]:
    found, y = [], float(HEIGHT)
    for kind in ("prices", "bars", "history"):
        height = round(getattr(figures, kind) * scale, 1)
        y = round(y - height, 1)
        if height:
            found.append((kind, y, height))
    return tuple(found)


def _outlook(
    facts: Facts, state: State, hours: Sequence[HourFigures], usage: Usage, now: datetime
) -> Outlook:
    here = site()
    pending = here.pending.look(facts)
    expected = list(pending.expected.values())
    unknown = next((one for one in expected if one.at_ms is None and one.rank is not None), None)
    last_ms = max((one.at_ms for one in expected if one.at_ms), default=facts.now_ms)
    if 0 < len(expected) < state.stats.pending:  # more wait than were read: they go on as these do
        last_ms += round((last_ms - facts.now_ms) * (state.stats.pending / len(expected) - 1))
    known = next((one for one in reversed(hours) if one.lacking is not None), None)
    lacking = known.lacking if known else None
    limit, window_ms = state.quota.limit, here.observer.context.queue.policy.window_ms
    whole = None
    if lacking is not None:
        whole = history_whole_at(lacking, usage, limit, window_ms, now)
    assets = known.assets if known else None
    empty = utc(last_ms)
    return Outlook(
        None if unknown or not expected else last_ms,
        unknown.why() if unknown else None,
        lacking,
        int(whole.timestamp() * 1000) if whole else None,
        _in_words(empty, now),
        _in_words(whole, now) if whole else "",
        lacking + -(-assets // SNAPSHOT) if lacking is not None and assets else None,
    )


def _in_words(at: datetime, now: datetime) -> str:
    """An instant as people say it: at 14:20, tomorrow 03:10, 30 Nov 03:10."""
    days = (at.date() - now.date()).days
    if days > 1:
        return f"{at:%d %b %H:%M}"
    return f"{'tomorrow' if days else 'at'} {at:%H:%M}"
