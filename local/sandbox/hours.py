"""When the sandbox's markets trade: spans of a UTC day with prices in them.

fx: Sunday 17:00 to Friday 17:00 in New York. Metals: from 18:00, with a break from 17:00 to 18:00
every day. Crypto: always. New York's clock decides, so the spans move in UTC twice a year."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from market.tickers import AssetKind

DAY_MS: Final = 86_400_000
NEW_YORK: Final = ZoneInfo("America/New_York")
_EPOCH: Final = date(1970, 1, 1)
_FRIDAY: Final = 4

Span = tuple[int, int]  # epoch ms, end excluded


def day_of(at_ms: int) -> int:
    """Number of the UTC day since 1970."""
    return at_ms // DAY_MS


def date_of(day: int) -> date:
    """The date of a day counted from 1970."""
    return _EPOCH + timedelta(days=day)


def day_number(of: date) -> int:
    """A date as a day counted from 1970."""
    return (of - _EPOCH).days


@lru_cache(maxsize=4096)
def open_spans(kind: AssetKind, day: int) -> tuple[Span, ...]:
    """The open parts of a UTC day, in order, merged where they touch; empty on a closed day."""
    start, end = day * DAY_MS, (day + 1) * DAY_MS
    if kind is AssetKind.CRYPTO:
        return ((start, end),)
    opening = time(18) if kind is AssetKind.METAL else time(17)
    spans: list[Span] = []
    for offset in (-1, 0, 1, 2):
        closes_on = date_of(day) + timedelta(days=offset)
        if closes_on.weekday() > _FRIDAY:
            continue
        begin = max(start, _new_york_ms(closes_on - timedelta(days=1), opening))
        finish = min(end, _new_york_ms(closes_on, time(17)))
        if begin >= finish:
            continue
        if spans and spans[-1][1] == begin:
            begin = spans.pop()[0]
        spans.append((begin, finish))
    return tuple(spans)


def is_open(kind: AssetKind, at_ms: int) -> bool:
    """True if the market trades at this instant."""
    return any(start <= at_ms < end for start, end in open_spans(kind, day_of(at_ms)))


def open_minutes(kind: AssetKind, start_ms: int, end_ms: int) -> int:
    """The number of minutes of [start, end) in which the market trades."""
    total = 0
    for day in range(day_of(start_ms), day_of(end_ms - 1) + 1):
        for start, end in open_spans(kind, day):
            total += max(0, min(end, end_ms) - max(start, start_ms))
    return total // 60_000


def _new_york_ms(on: date, at: time) -> int:
    return int(datetime.combine(on, at, tzinfo=NEW_YORK).timestamp()) * 1000
