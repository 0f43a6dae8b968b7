"""`assetq bars`: the stored bars of an asset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import click

from cli.assets import named
from cli.options import Moment, as_json, checked_order, from_option, to_option
from cli.session import load_settings, open_database
from cli.show.output import note, print_json_rows, print_table
from db.connection import Connection
from db.coverage import FIVE_MINUTES, CoverageRepository
from db.export import bar_columns, csv_lines, exact
from db.reading import TIMEFRAMES, StoredBar, read_bars, stored_range

_SHOWN = 50


@click.command()
@click.argument("symbol")
@from_option
@to_option
@click.option(
    "--timeframe",
    type=click.Choice(list(TIMEFRAMES)),
    default=FIVE_MINUTES,
    show_default=True,
    help="Above 5m they are made of the 5-minute bars, aligned to UTC.",
)
@click.option("--csv", "csv_", is_flag=True, help="All of them as CSV, prices exact.")
@as_json
def bars(
    symbol: str,
    since: Moment | None,
    until: Moment | None,
    timeframe: str,
    csv_: bool,
    json_: bool,
) -> None:
    """The stored bars of SYMBOL, by default those of the newest day that has any.

    A table shows the first 50; --csv and --json give all, as they are read. Above 5m, `complete`
    says whether every part of a bar is there. EUR/USD, eurusd and C:EURUSD are understood.
    """
    if csv_ and json_:
        raise click.UsageError("--csv or --json, not both.")
    checked_order(since, until)
    with open_database(load_settings()) as connection:
        (asset,) = named(connection, [symbol])
        stored = stored_range(connection, asset.symbol)
        start, end = _range(since, until, stored)
        limit = None if csv_ or json_ else _SHOWN + 1
        rows = read_bars(connection, asset.symbol, timeframe, start, end, limit=limit)
        columns = bar_columns(timeframe)
        if csv_:
            for line in csv_lines(asset.symbol, timeframe, rows):
                click.echo(line, nl=False)
        elif json_:
            head = {"symbol": asset.symbol, "timeframe": timeframe, "from": start, "to": end}
            print_json_rows(head, "bars", (_as_dict(columns, row) for row in rows))
        else:
            nothing = _nothing(asset.symbol, start, end, stored)
            _print_table(columns, list(rows), nothing)
            note(_coverage(connection, asset.symbol, start, end))


def _range(
    since: Moment | None, until: Moment | None, stored: tuple[datetime, datetime] | None
) -> tuple[datetime, datetime]:
    """From when until before when; the day of the newest bar where neither is given."""
    newest = stored[1] if stored else datetime.now(UTC)
    midnight = newest.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    if since is None and until is None:
        return midnight, midnight + timedelta(days=1)
    if since is None:
        assert until is not None
        return until.end - timedelta(days=1), until.end
    return since.start, until.end if until else max(midnight + timedelta(days=1), since.end)


def _as_dict(columns: Iterable[str], bar: StoredBar) -> dict[str, Any]:
    return {name: getattr(bar, name) for name in columns}


def _print_table(columns: tuple[str, ...], rows: list[StoredBar], nothing: str) -> None:
    def cells(bar: StoredBar) -> list[str]:
        day = bar.ts.astimezone(UTC)
        return [f"{day:%Y-%m-%d %H:%M}", *(exact(getattr(bar, name)) for name in columns[1:])]

    heads = ["time (UTC)", *(f">{name}" for name in columns[1:])]
    print_table(heads, map(cells, islice(rows, _SHOWN)), empty=nothing)
    if len(rows) > _SHOWN:
        note(f"the first {_SHOWN} bars; --csv and --json give all of them")


def _nothing(
    symbol: str, start: datetime, end: datetime, stored: tuple[datetime, datetime] | None
) -> str:
    if stored is None:
        return f"no bar of {symbol} is stored yet"
    first, last = (f"{at.astimezone(UTC):%Y-%m-%d %H:%M}" for at in stored)
    asked = f"{start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M}"
    return f"no bars of {symbol} from {asked}; stored are some from {first} to {last} UTC"


def _coverage(connection: Connection, symbol: str, start: datetime, end: datetime) -> str:
    """What is known of the days of the range."""
    first, last = start.date(), (end - timedelta(microseconds=1)).date()
    days = CoverageRepository(connection).days(symbol, first, last)
    counts = Counter(day.status for day in days)
    counts["missing"] += (last - first).days + 1 - len(days)
    told = ", ".join(f"{n} {status}" for status, n in counts.items() if n)
    return f"days: {told} (assetq coverage {symbol})"
