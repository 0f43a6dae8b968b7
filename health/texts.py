"""Instants, spans and lists of names as people read them."""

from collections.abc import Sequence
from datetime import UTC, datetime

_SHOWN = 5


def at(ms: int) -> str:
    """Milliseconds since 1970 as ISO 8601 in UTC, to the second."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def at_or_none(ms: int | None) -> str | None:
    """The same where 0 and None stand for "not at all"."""
    return at(ms) if ms else None


def span(ms: int) -> str:
    """For example "5 min", "90 s"."""
    seconds = ms // 1000
    return f"{seconds // 60} min" if seconds % 60 == 0 else f"{seconds} s"


def names(found: Sequence[str]) -> str:
    """The first few, and how many more."""
    more = len(found) - _SHOWN
    return ", ".join(found[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
