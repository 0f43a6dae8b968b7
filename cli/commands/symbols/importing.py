"""`assetq symbols import`: assets from a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
from redis.exceptions import RedisError

from cli.commands.symbols.provider import Filters, choose, listed_by_provider
from cli.options import PRIORITY, as_json
from cli.session import load_settings, open_context, open_database
from cli.show.output import note, print_json, print_table
from db.connection import Connection
from db.reading import known_symbols
from db.symbols import Asset, ImportCounts
from health.texts import names
from queueing import Outcome, Priority
from settings import Settings
from settings.catalogue import import_catalogue, read_assets
from settings.checkout import CATALOGUE
from worker.tracking import ask_at_once


@click.command("import")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--market", type=click.Choice(["fx", "crypto"]), help="From the provider's list.")
@click.option("--search", default="", help="Only tickers and names that hold this text.")
@click.option("--base", multiple=True, metavar="CODE", help="Only pairs of this currency: EUR.")
@click.option("--quote", multiple=True, metavar="CODE", help="Only pairs priced in it: USD.")
@click.option("--priority", type=PRIORITY, help="Of new assets of the list. [default: LOW]")
@click.option("--dry-run", is_flag=True, help="Show what would be added from the list.")
@as_json
def import_(
    file: Path | None,
    market: str | None,
    search: str,
    base: tuple[str, ...],
    quote: tuple[str, ...],
    priority: int | None,
    dry_run: bool,
    json_: bool,
) -> None:
    """Add and update assets, all or nothing; new ones are asked for at once.

    From FILE: CSV with a header (columns symbol, polygon_ticker, asset_type, and optional name,
    priority, update_frequency_seconds), or the same as a YAML list. With --market: the tickers of
    the provider's list that are not tracked yet; a call for each 1,000 of them, as soon as the
    quota has one free. Without both: the catalogue that comes with assetq, which fills in what is
    missing and leaves your own edits alone.
    """
    filters = Filters.of(search, base, quote)
    if market and file:
        raise click.UsageError("Give FILE or --market, not both.")
    if not market and (dry_run or priority or filters != Filters()):
        raise click.UsageError("--search, --base, --quote, --priority, --dry-run need --market.")
    if market:
        settings, band = load_settings(), priority or Priority.LOW
        _from_provider(settings, market, filters, band, dry_run=dry_run, json_=json_)
        return
    assets = read_assets(file or CATALOGUE)
    settings = load_settings()
    with open_database(settings) as connection:
        counts = import_catalogue(connection, assets, overwrite=file is not None)
        asked = _ask(settings, connection, counts.new)
    _tell(counts, asked, f"from {file or CATALOGUE}", json_=json_)


def _from_provider(
    settings: Settings, market: str, filters: Filters, band: int, *, dry_run: bool, json_: bool
) -> None:
    with open_database(settings) as connection:
        listed = listed_by_provider(settings, connection, market, filters)
        chosen = choose(listed, known_symbols(connection), filters, band)
        if chosen.clashes:
            note(
                f"note: left out, as another asset has that symbol: {names(chosen.clashes)}. "
                "Import them from a FILE under another one."
            )
        if dry_run:
            _show(chosen.assets, json_=json_)
            return
        counts = import_catalogue(connection, chosen.assets, overwrite=False)
        counts = replace(counts, unchanged=counts.unchanged + chosen.known)
        asked = _ask(settings, connection, counts.new)
    _tell(counts, asked, f"of {len(listed):,} listed tickers of {market}", json_=json_)


def _show(assets: Sequence[Asset], *, json_: bool) -> None:
    if json_:
        print_json([asdict(asset) for asset in assets])
    else:
        rows = [(a.symbol, a.polygon_ticker, a.name) for a in assets]
        print_table(["symbol", "ticker", "name"], rows, empty="nothing new")


def _tell(counts: ImportCounts, asked: int | None, source: str, *, json_: bool) -> None:
    if json_:
        print_json(document(counts, asked))
    else:
        click.echo(f"{told(counts)} ({source})")


def document(counts: ImportCounts, asked: int | None) -> dict[str, Any]:
    """With stable keys, for --json; `asked_for` null: Redis did not answer."""
    return {
        "inserted": counts.inserted,
        "updated": counts.updated,
        "unchanged": counts.unchanged,
        "asked_for": asked,
    }


def told(counts: ImportCounts) -> str:
    """The counts for people."""
    return f"{counts.inserted} new, {counts.updated} updated, {counts.unchanged} unchanged"


def _ask(settings: Settings, connection: Connection, new: Sequence[str]) -> int | None:
    """Ask for new assets; returns how many were asked for. Without Redis they are imported all the
    same, and the first round asks for them."""
    if not new:
        return 0
    try:
        with open_context(settings) as context:
            asked = ask_at_once(context, connection, new)
    except RedisError:
        note("note: Redis does not answer, so the next secondary round asks for the new assets.")
        return None
    refused = sum(outcome is Outcome.REFUSED for _, outcome, _ in asked)
    if refused:
        note(f"note: the queue is full: the secondary rounds ask for {refused} of the new assets.")
    return len(asked) - refused
