"""`assetq symbols import`: assets from a file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from redis.exceptions import RedisError

from cli.options import as_json
from cli.session import load_settings, open_context, open_database
from cli.show.output import note, print_json
from db.connection import Connection
from db.symbols import ImportCounts
from queueing import Outcome
from settings import Settings
from settings.catalogue import import_catalogue, read_assets
from settings.checkout import CATALOGUE
from worker.tracking import ask_at_once


@click.command("import")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@as_json
def import_(file: Path | None, json_: bool) -> None:
    """Add and update assets from FILE, all or nothing; new ones are asked for at once.

    CSV with a header (columns symbol, polygon_ticker, asset_type, and optional name, priority,
    update_frequency_seconds), or the same as a YAML list. Without FILE: the catalogue that comes
    with assetq, which fills in what is missing and leaves your own edits alone.
    """
    assets = read_assets(file or CATALOGUE)
    settings = load_settings()
    with open_database(settings) as connection:
        counts = import_catalogue(connection, assets, overwrite=file is not None)
        asked = _ask(settings, connection, counts.new)
    if json_:
        print_json(document(counts, asked))
    else:
        click.echo(f"{told(counts)} (from {file or CATALOGUE})")


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
