"""`assetq symbols pause`, `resume` and `remove`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from cli.assets import named
from cli.options import as_json
from cli.session import confirm, load_settings, open_context, open_database
from cli.show.output import note, print_json
from cli.show.waiting import tell_idle
from db.symbols import SymbolRepository
from health.texts import names
from settings.catalogue import read_assets
from worker import tracking

_SYMBOLS = click.argument("symbols", nargs=-1, required=True, metavar="SYMBOL…")


@click.command()
@_SYMBOLS
@as_json
def pause(symbols: tuple[str, ...], json_: bool) -> None:
    """Stop asking for assets, and keep what is stored.

    Their requests leave the queue; a call that is under way ends. Imports leave them paused.
    """
    settings = load_settings()
    with open_database(settings) as connection, open_context(settings) as context:
        meant = [known.symbol for known in named(connection, symbols)]
        changed = tracking.pause(context, connection, meant)
    _tell("paused", "paused already", meant, changed, json_=json_)


@click.command()
@_SYMBOLS
@as_json
def resume(symbols: tuple[str, ...], json_: bool) -> None:
    """Ask for paused assets again, and at once."""
    settings = load_settings()
    with open_database(settings) as connection, open_context(settings) as context:
        meant = [known.symbol for known in named(connection, symbols)]
        changed = tracking.resume(context, connection, meant)
        if changed:
            tell_idle(context)
    _tell("resumed", "not paused", meant, changed, json_=json_)


@click.command()
@_SYMBOLS
@click.option("--yes", is_flag=True, help="Do not ask.")
@as_json
def remove(symbols: tuple[str, ...], yes: bool, json_: bool) -> None:
    """Delete assets with their prices, bars and coverage. `pause` keeps them.

    Needs the owner of the tables. Where rows of your own refer to an asset, it stays.
    """
    settings = load_settings()
    with open_database(settings) as connection, open_context(settings) as context:
        meant = [known.symbol for known in named(connection, symbols)]
        bars = SymbolRepository(connection).count_bars(meant)
        confirm(f"Remove {names(meant)} with {bars:,} 5-minute bars?", yes=yes)
        removed = {symbol: tracking.remove(context, connection, symbol) for symbol in meant}
    if json_:
        print_json({"removed": [{"symbol": s, "bars": n} for s, n in removed.items()]})
    else:
        for symbol, count in removed.items():
            click.echo(f"{symbol}: removed, with {count:,} 5-minute bars")
    shipped = sorted({asset.symbol for asset in read_assets()} & removed.keys())
    if shipped:
        note(
            f"note: the catalogue that comes with assetq has {names(shipped)}: `assetq up` and "
            "`assetq symbols import` add what is missing. `pause` keeps an asset out."
        )


def _tell(
    done: str, otherwise: str, meant: Sequence[str], changed: Sequence[str], *, json_: bool
) -> None:
    """A line for each asset that was named."""
    same = [symbol for symbol in meant if symbol not in changed]
    if json_:
        print_json({done: list(changed), otherwise.replace(" ", "_"): same})
        return
    for symbol in meant:
        click.echo(f"{symbol}: {done if symbol in changed else otherwise}")
