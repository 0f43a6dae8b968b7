"""GET /asset: one asset, its bars as candles, its days, its calls, and how old its price was."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from urllib.parse import urlencode

from flask import abort, redirect, request
from werkzeug.wrappers import Response as AnyResponse

from db.calls import StoredCall, answered_at, calls_of_ticker
from db.connection import Connection
from db.coverage import CoverageRepository, DayStatus
from db.latest import LatestPrice, latest_prices
from db.reading import StoredBar, read_bars, stored_range
from health.facts import Facts
from health.freshness import FreshnessRow
from health.staleness import Staleness, staleness
from health.texts import utc
from market.coverage import days_between
from market.hours import sessions_between, trades_on
from market.tickers import AssetKind, bare
from web.board import View
from web.database import Away
from web.pages.candles import Chart, Span, draw
from web.pages.ranges import RANGES, address, query_of, range_name, span_of
from web.pages.upcoming import upcoming
from web.site import render, site
from worker.work import bars_name

STRIP_DAYS = 91
SHOWN_CALLS = 12
STALE_DAYS = 7
_HOURS_AHEAD = timedelta(days=8)


@dataclass(frozen=True)
class Hours:
    """Whether a market trades, and when that changes; None: never."""

    open: bool
    until_ms: int | None


@dataclass(frozen=True)
class Details:
    """What PostgreSQL tells of one asset."""

    asset: LatestPrice
    bars: Sequence[StoredBar]
    days: Sequence[DayStatus]
    """Those of the strip, each day of it."""
    chart: Chart | None
    calls: Sequence[StoredCall]
    stored: tuple[datetime, datetime] | None
    staleness: Staleness | None
    span: Span


def show() -> AnyResponse:
    """Answer with the page; 404 names what is written alike."""
    here = site()
    facts = here.observer.look()
    asked = request.args.get("symbol", "").strip()[:64]
    try:
        view = here.board.view(facts)
    except Away as error:
        return render("asset.html", asked or "Asset", facts, row=None, away=str(error), near=[])
    row = view.by_symbol.get(asked)
    if row is None:
        return _unknown(facts, view, asked)
    try:
        now = utc(facts.now_ms)
        with here.database.connection(facts.database) as connection:
            details, away = _details(connection, row, now), None
    except Away as error:
        details, away = None, str(error)
    values = _values(facts, row, details) if details else {}
    return render("asset.html", row.symbol, facts, row=row, away=away, **values)


def _unknown(facts: Facts, view: View, asked: str) -> AnyResponse:
    """Lead to the one that is written alike, or name those that are near."""
    wanted = bare(asked)
    alike: dict[str, list[str]] = {}
    for symbol in view.by_symbol:
        alike.setdefault(bare(symbol), []).append(symbol)
    found = alike.get(wanted, []) if wanted else []
    if len(found) == 1:
        args = request.args.to_dict() | {"symbol": found[0]}
        return redirect(f"asset?{urlencode(args)}", 302)
    near = found or [
        symbol
        for spelling in difflib.get_close_matches(wanted, alike, 5, 0.5)
        for symbol in alike[spelling]
    ]
    page = render("asset.html", "No such asset", facts, row=None, away=None, asked=asked, near=near)
    page.status_code = 404
    return page


def _details(connection: Connection, row: FreshnessRow, now: datetime) -> Details:
    asset = next(iter(latest_prices(connection, [row.symbol])), None)
    if asset is None:
        abort(404, "This asset was just deleted.")
    stored = stored_range(connection, row.symbol)
    name = range_name()
    span = span_of(name, now, stored)
    coverage = CoverageRepository(connection)
    bars = list(read_bars(connection, row.symbol, RANGES[name][2], span.start, span.end))
    days = coverage.days(row.symbol, span.start.date(), span.end.date())
    kind = row.kind
    sessions = sessions_between(kind, span.start, span.end) if kind else [(span.start, span.end)]
    strip = coverage.days(row.symbol, now.date() - timedelta(days=STRIP_DAYS - 1), now.date())
    week = now - timedelta(days=STALE_DAYS)
    fetched = answered_at(connection, asset.ticker, week)
    return Details(
        asset,
        bars,
        _filled(row.symbol, kind, strip, now.date()),
        draw(bars, span, sessions, {day.day: day for day in days}, now),
        calls_of_ticker(connection, asset.ticker, week, limit=SHOWN_CALLS),
        stored,
        staleness(fetched, sessions_between(kind, max(week, *fetched[:1]), now))
        if kind and fetched
        else None,
        span,
    )


def _filled(
    symbol: str, kind: AssetKind | None, known: Sequence[DayStatus], today: date
) -> list[DayStatus]:
    """Each day of the strip; one that was never asked for is missing, or closed."""
    by_day = {day.day: day for day in known}
    first = today - timedelta(days=STRIP_DAYS - 1)

    def absent(day: date) -> DayStatus:
        trades = kind is None or trades_on(kind, day)
        return DayStatus(symbol, day, "missing" if trades else "closed", 0, None, None)

    return [by_day.get(day) or absent(day) for day in days_between(first, today)]


def _values(facts: Facts, row: FreshnessRow, details: Details) -> dict[str, object]:
    here = site()
    context, symbol = here.observer.context, row.symbol
    following = upcoming(context, facts, [row]).get(symbol)
    pending = here.pending.look(facts) if facts.state else None
    bars_item = bars_name(symbol)
    name = range_name()
    span, length = details.span, RANGES[name][1]
    now = utc(facts.now_ms)
    later = span.end + length
    return {
        "details": details,
        "next": following,
        "expected": pending.expected.get(symbol) if pending else None,
        "expected_bars": pending.expected.get(bars_item) if pending else None,
        "hours": _hours(row.kind, now),
        "ranges": RANGES,
        "range_name": name,
        "timeframe": RANGES[name][2],
        "earlier": address(span.end - length),
        "later": address(later) if span.end < now else None,
        "counts": Counter(day.status for day in details.days),
        "sql": query_of(symbol, RANGES[name][2], span),
        "csv": urlencode(
            {
                "symbol": symbol,
                "timeframe": RANGES[name][2],
                "from": address(span.start),
                "to": address(span.end),
            }
        ),
    }


def _hours(kind: AssetKind | None, now: datetime) -> Hours | None:
    if kind is None:
        return None
    if kind is AssetKind.CRYPTO:
        return Hours(True, None)
    sessions = sessions_between(kind, now, now + _HOURS_AHEAD)
    opens, closes = sessions[0]
    open_ = opens <= now
    return Hours(open_, int((closes if open_ else opens).timestamp() * 1000))
