"""Which bars the page of an asset shows: ranges of time as they stand in its address."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta

from flask import request

from db.reading import TIMEFRAMES
from web.pages.candles import Span

RANGES = {
    "6h": ("6 hours", timedelta(hours=6), "5m"),
    "1d": ("Day", timedelta(days=1), "15m"),
    "1w": ("Week", timedelta(days=7), "1h"),
    "1m": ("Month", timedelta(days=30), "4h"),
    "6m": ("6 months", timedelta(days=180), "1d"),
}
"""In the address → name, length, timeframe of the bars."""
BAR = {
    "5m": timedelta(minutes=5),
    "15m": timedelta(minutes=15),
    "1h": timedelta(hours=1),
    "4h": timedelta(hours=4),
    "1d": timedelta(days=1),
}


def range_name() -> str:
    """The range that the address asks for."""
    asked = request.args.get("range", "")
    return asked if asked in RANGES else "1d"


def span_of(name: str, now: datetime, stored: tuple[datetime, datetime] | None) -> Span:
    """The range that the address asks for.

    Without an end it ends now, or with the newest bars where these lie a quarter of it back: of a
    plan that ends with yesterday, late in the evening, next to nothing would be shown."""
    _, length, timeframe = RANGES[name]
    bar = BAR[timeframe]
    end = instant(request.args.get("to", ""))
    if end is None:
        newest = stored[1].astimezone(UTC) + BAR["5m"] if stored else now
        end = now if newest > now - length / 4 else newest
    end = _rounded_up(end, bar)
    return Span(end - length, end, bar)


def _rounded_up(at: datetime, bar: timedelta) -> datetime:
    midnight = datetime.combine(at.date(), time.min, UTC)
    return midnight + -(-(at - midnight) // bar) * bar


def instant(text: str) -> datetime | None:
    """An instant of the address in UTC; None: none, or nothing that can be shown."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return at.astimezone(UTC) if 1990 <= at.year <= 2100 else None


def address(at: datetime) -> str:
    """An instant as it stands in an address, in UTC."""
    return f"{at:%Y-%m-%dT%H:%M}"


def query_of(symbol: str, timeframe: str, span: Span) -> str:
    """The query that reads the bars which are shown."""
    quoted = symbol.replace("'", "''")
    table = TIMEFRAMES[timeframe]
    range_ = f"ts >= '{span.start:%Y-%m-%d %H:%M}+00' AND ts < '{span.end:%Y-%m-%d %H:%M}+00'"
    if timeframe == "5m":
        return (
            "SELECT bar.ts, bar.open, bar.high, bar.low, bar.close, bar.volume\n"
            f"FROM market_data.{table} AS bar\n"
            "JOIN trading.symbols AS s ON s.id = bar.symbol_id\n"
            f"WHERE s.symbol = '{quoted}'\n  AND {range_.replace('ts ', 'bar.ts ')}\n"
            "ORDER BY bar.ts;"
        )
    return (
        "SELECT ts, open, high, low, close, volume, complete\n"
        f"FROM market_data.{table}\nWHERE symbol = '{quoted}'\n  AND {range_}\nORDER BY ts;"
    )
