"""Instants, durations and lists of names as people read them: on pages, in JSON and in commands."""

from collections.abc import Sequence
from datetime import UTC, datetime

from queueing.foreign import END_MS

_SHOWN = 5


def utc(ms: float) -> datetime:
    """The instant of milliseconds since 1970; the nearest one of those that can be told."""
    return datetime.fromtimestamp(min(max(ms, 0), END_MS) / 1000, UTC)


def at(ms: int) -> str:
    """Milliseconds since 1970 as ISO 8601 in UTC, to the second."""
    return utc(ms).strftime("%Y-%m-%dT%H:%M:%SZ")


def at_or_none(ms: int | None) -> str | None:
    """The same, or None for None and 0, which stand for "not set"."""
    return at(ms) if ms else None


def iso(ms: int | None) -> str | None:
    """The same to the millisecond."""
    if not ms:
        return None
    return utc(ms).isoformat(timespec="milliseconds")


def clock(ms: int, now_ms: int) -> str:
    """An instant as time of day and distance, e.g. "12:00:30 UTC (in 1 min 5 s)"."""
    distance = span(abs(ms - now_ms) / 1000)
    relative = f"in {distance}" if ms >= now_ms else f"{distance} ago"
    return f"{utc(ms):%H:%M:%S} UTC ({relative})"


def span(seconds: float) -> str:
    """A duration in its two largest units: 0.4 s, 42 s, 3 min 20 s, 5 min, 2 h 5 min, 4 d 1 h."""
    if seconds < 10:
        return f"{max(0.0, seconds):.1f} s"
    whole = round(seconds)
    for size, name, smaller, smaller_name in (
        (86_400, "d", 3600, "h"),
        (3600, "h", 60, "min"),
        (60, "min", 1, "s"),
    ):
        if whole >= size:
            rest = whole % size // smaller
            return f"{whole // size} {name}" + (f" {rest} {smaller_name}" if rest else "")
    return f"{whole} s"


def names(found: Sequence[str]) -> str:
    """The first five, and the number of the others."""
    more = len(found) - _SHOWN
    return ", ".join(found[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def one_line(text: str) -> str:
    """The text in printable characters: what providers and users send may hold anything."""
    return "".join(c if c.isprintable() else " " for c in text)
