"""`assetq coverage`: which days of the 5-minute bars are whole."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import Any

import click

from cli.assets import named
from cli.options import Moment, as_json, checked_order, from_option, to_option
from cli.session import load_settings, open_database
from cli.show.output import print_json
from db.connection import Connection
from db.coverage import FIVE_MINUTES, CoverageRepository, DayStatus
from db.reading import KnownSymbol, SeriesCoverage, coverage_counts
from health.texts import names
from market.coverage import bars_of_day, days_between
from market.errors import InvalidTicker
from market.tickers import AssetKind, asset_kind
from worker.series import history_since

SIGNS = {
    "complete": ("█", "green"),
    "sparse": ("▒", "yellow"),
    "pending": ("░", "cyan"),
    "missing": ("×", "red"),
    "closed": ("·", None),
}
"""Status → how a day is drawn, and its colour in a terminal."""
_NUMBERS = " ".join(SIGNS)
_DAY = timedelta(days=1)
_SHORTEST_STRIP, _LONGEST_STRIP = 7, 92


@dataclass(frozen=True)
class _Range:
    """Days, both inclusive."""

    first: date
    last: date

    def __str__(self) -> str:
        return f"{self.first} to {self.last}"


@click.command()
@click.argument("symbols", nargs=-1, metavar="[SYMBOL…]")
@from_option
@to_option
@as_json
def coverage(
    symbols: tuple[str, ...], since: Moment | None, until: Moment | None, json_: bool
) -> None:
    """Which days of the 5-minute bars are whole: of all assets, or day by day of SYMBOL.

    \b
    complete  the day is over, was asked for, and has its bars
    sparse    bars lack, were refused, or do not add up to the daily bar
    pending   it goes on, or is asked for again
    missing   it was never asked for
    closed    no session

    Goes back as far as history is wanted (HISTORY_DAYS) unless --from says otherwise.
    """
    checked_order(since, until)
    settings, now = load_settings(), datetime.now(UTC)
    last = min(now.date(), (until.end - timedelta(microseconds=1)).date() if until else now.date())
    days = _Range(since.start.date() if since else history_since(settings, now), last)
    if days.first > days.last:
        raise click.UsageError(f"--from {days.first} is in the future: there are no bars of it.")
    with open_database(settings) as connection:
        assets = named(connection, symbols)
        if symbols:
            _each(connection, assets, days, json_)
        else:
            _all(connection, assets, days, json_)


def _each(connection: Connection, assets: Sequence[KnownSymbol], days: _Range, json_: bool) -> None:
    repository = CoverageRepository(connection)
    found = {
        asset.symbol: _filled(asset, repository.days(asset.symbol, days.first, days.last), days)
        for asset in assets
    }
    if json_:
        rows = [
            {"symbol": symbol, "counts": _counts(known), "days": [_day(day) for day in known]}
            for symbol, known in found.items()
        ]
        _print_json(days, rows)
        return
    for symbol, known in found.items():
        click.echo(f"{symbol}, 5-minute bars, {days} (UTC)\n")
        _print_months(known)
        click.echo()
    click.echo(_legend())


def _filled(asset: KnownSymbol, known: Sequence[DayStatus], days: _Range) -> list[DayStatus]:
    """Every day of the range; those before the first that was asked for are missing, or closed."""
    by_day = {day.day: day for day in known}
    return [
        by_day.get(day) or DayStatus(asset.symbol, day, _never_asked(asset, day), 0, None, None)
        for day in days_between(days.first, days.last)
    ]


def _never_asked(asset: KnownSymbol, day: date) -> str:
    try:
        kind = asset_kind(asset.polygon_ticker)
    except InvalidTicker:
        return "missing"
    return "missing" if _trades(kind, day) else "closed"


@cache
def _trades(kind: AssetKind, day: date) -> bool:
    return bars_of_day(kind, day) > 0


def _print_months(known: Sequence[DayStatus]) -> None:
    """A line for each month, in columns of days, and what lacks bars by name."""
    ruler = "1   5    10   15   20   25   30"
    click.echo(f"{'':7} {ruler:31} {_NUMBERS}")
    months: dict[str, list[DayStatus]] = {}
    for day in known:
        months.setdefault(f"{day.day:%Y-%m}", []).append(day)
    for month, of_month in months.items():
        strip = " " * (of_month[0].day.day - 1) + _strip([day.status for day in of_month])
        padding = " " * (31 - of_month[-1].day.day)
        click.echo(f"{month} {strip}{padding} {_numbers(_counts(of_month))}".rstrip())
    sparse = [f"{d.day} ({d.bars} of {d.expected})" for d in reversed(known)
              if d.status == "sparse"]  # fmt: skip
    if sparse:
        click.echo(f"\nsparse: {names(sparse)}")


def _all(connection: Connection, assets: Sequence[KnownSymbol], days: _Range, json_: bool) -> None:
    longest = max([6, *(len(asset.symbol) for asset in assets)])
    room = shutil.get_terminal_size().columns - longest - len(_NUMBERS) - 2
    width = min(max(room, _SHORTEST_STRIP), _LONGEST_STRIP, (days.last - days.first).days + 1)
    strip = _Range(days.last - (width - 1) * _DAY, days.last)
    known = coverage_counts(connection, days.first, days.last, newest=strip.first)
    rows = [(asset, *_summed(asset, known.get(asset.symbol), days, strip)) for asset in assets]
    if json_:
        _print_json(days, [{"symbol": asset.symbol, "counts": counts} for asset, counts, _ in rows])
        return
    if not rows:
        click.echo("no assets. Next: assetq symbols import")
        return
    click.echo(f"5-minute bars of {len(rows)} assets, {days}; drawn: the last {width} days\n")
    click.echo(f"{'':{longest}} {'':{width}} {_NUMBERS}")
    total: Counter[str] = Counter()
    for asset, counts, newest in rows:
        click.echo(f"{asset.symbol:{longest}} {_strip(newest)} {_numbers(counts)}".rstrip())
        total.update(counts)
    click.echo(f"{'total':{longest}} {'':{width}} {_numbers(total)}".rstrip())
    click.echo(f"\n{_legend()}")


def _summed(
    asset: KnownSymbol, known: SeriesCoverage | None, days: _Range, strip: _Range
) -> tuple[dict[str, int], list[str]]:
    """The days by status, and the statuses of the newest ones."""
    first = known.first if known else days.last + _DAY
    counts = {status: getattr(known, status) if known else 0 for status in SIGNS}
    newest = []
    for day in days_between(days.first, first - _DAY):
        status = _never_asked(asset, day)
        counts[status] += 1
        if day >= strip.first:
            newest.append(status)
    return counts, [*newest, *(known.newest if known else ())]


def _counts(known: Sequence[DayStatus]) -> dict[str, int]:
    counts = Counter(day.status for day in known)
    return {status: counts[status] for status in SIGNS}


def _numbers(counts: dict[str, int] | Counter[str]) -> str:
    """Under the words of the heading; a zero is left out."""
    return " ".join(f"{counts[status] or '':>{len(status)}}" for status in SIGNS)


def _strip(statuses: Sequence[str]) -> str:
    return "".join(_drawn(status) for status in statuses)


def _drawn(status: str) -> str:
    sign, colour = SIGNS[status]
    return click.style(sign, fg=colour) if colour else click.style(sign, dim=True)


def _legend() -> str:
    return "  ".join(f"{_drawn(status)} {status}" for status in SIGNS)


def _day(day: DayStatus) -> dict[str, Any]:
    keys = ("day", "status", "bars", "expected", "asked_at")
    return {key: getattr(day, key) for key in keys}


def _print_json(days: _Range, rows: list[dict[str, Any]]) -> None:
    print_json({"timeframe": FIVE_MINUTES, "from": days.first, "to": days.last, "series": rows})
