"""GET /bars.csv: stored bars of one asset."""

from __future__ import annotations

from collections.abc import Mapping

from flask import Response, abort, request

from db.export import csv_lines
from db.latest import latest_prices
from db.reading import TIMEFRAMES, read_bars
from web.database import Away
from web.pages.ranges import BAR, instant
from web.site import site

MOST_BARS = 50_000
"""Of one download: half a year of 5-minute bars, some 4 MB."""


def show() -> Response:
    """Answer with bars as CSV; 400 for a range that is none or too long."""
    asked: Mapping[str, str] = request.args
    timeframe = asked.get("timeframe", "5m")
    start, end = instant(asked.get("from", "")), instant(asked.get("to", ""))
    if timeframe not in TIMEFRAMES:
        abort(400, f"timeframe: one of {', '.join(TIMEFRAMES)}.")
    if start is None or end is None or start >= end:
        abort(400, "from and to: instants in UTC like 2026-01-05T12:00, the first one earlier.")
    if (end - start) / BAR[timeframe] > MOST_BARS:
        abort(400, f"At most {MOST_BARS} bars at once; `assetq bars --csv` has no limit.")
    here = site()
    symbol = asked.get("symbol", "")[:64]
    try:
        with here.database.connection() as connection:
            if not latest_prices(connection, [symbol]):
                abort(404, "There is no such asset.")
            bars = read_bars(connection, symbol, timeframe, start, end)
            text = "".join(csv_lines(symbol, timeframe, bars))
    except Away as error:
        abort(503, str(error))
    response = Response(text, mimetype="text/csv")
    name = "".join(c if c.isascii() and c.isalnum() else "-" for c in symbol)
    response.headers["Content-Disposition"] = f'attachment; filename="{name}-{timeframe}.csv"'
    return response
