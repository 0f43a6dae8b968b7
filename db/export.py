"""Stored bars as CSV, for the command and the pages."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from db.coverage import FIVE_MINUTES
from db.reading import StoredBar

_COLUMNS = ("ts", "open", "high", "low", "close", "volume", "trades")
_MADE = ("parts", "complete")


def bar_columns(timeframe: str) -> tuple[str, ...]:
    """The columns of a bar; made ones tell of how many bars they are, and whether of all."""
    return _COLUMNS if timeframe == FIVE_MINUTES else (*_COLUMNS, *_MADE)


def csv_lines(symbol: str, timeframe: str, bars: Iterable[StoredBar]) -> Iterator[str]:
    """Yield the lines, a heading first; prices are exact, instants in UTC."""
    columns = bar_columns(timeframe)
    yield _line(["symbol", *columns])
    for bar in bars:
        yield _line([symbol, *(exact(getattr(bar, name)) for name in columns)])


def exact(value: object) -> str:
    """A value as programs read it back, without an exponent."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else f"{value:f}" if hasattr(value, "adjusted") else str(value)


def _line(values: list[str]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerow(values)
    return out.getvalue()
