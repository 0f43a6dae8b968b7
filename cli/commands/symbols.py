"""`assetq symbols`: the tracked assets."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from cli.options import PRIORITY, as_json
from cli.session import load_settings, open_database
from cli.show.output import print_json, print_table
from db.symbols import StoredAsset, SymbolRepository
from health.texts import span
from health.waits import band_name
from settings.catalogue import import_catalogue, read_assets
from settings.checkout import CATALOGUE


@click.group()
def symbols() -> None:
    """The tracked assets."""


@symbols.command("import")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@as_json
def import_(file: Path | None, json_: bool) -> None:
    """Add and update assets from FILE, all or nothing.

    CSV with a header (columns symbol, polygon_ticker, asset_type, and optional name, priority,
    update_frequency_seconds), or the same as a YAML list. Without FILE: the catalogue that comes
    with assetq, which fills in what is missing and leaves your own edits alone.
    """
    assets = read_assets(file or CATALOGUE)
    with open_database(load_settings()) as connection:
        counts = import_catalogue(connection, assets, overwrite=file is not None)
    if json_:
        print_json(
            {
                "inserted": counts.inserted,
                "updated": counts.updated,
                "unchanged": counts.unchanged,
            }
        )
        return
    click.echo(
        f"{counts.inserted} new, {counts.updated} updated, {counts.unchanged} unchanged"
        f" (from {file or CATALOGUE})"
    )


@symbols.command("list")
@click.option("--priority", type=PRIORITY, help="Only this band.")
@as_json
def list_(priority: int | None, json_: bool) -> None:
    """Each asset with its latest price and how old it is."""
    with open_database(load_settings()) as connection:
        assets = SymbolRepository(connection).list(band=priority)
    if json_:
        print_json([_row(asset) for asset in assets])
        return
    now = datetime.now(UTC)
    print_table(
        ["symbol", "ticker", "type", "priority", ">every", ">price", ">age", "delay", "source"],
        [
            (
                a.symbol,
                a.polygon_ticker,
                a.asset_type,
                band_name(a.priority),
                span(a.update_frequency_seconds) if a.update_frequency_seconds else "",
                f"{a.last_price:f}" if a.last_price is not None else "",
                span((now - a.as_of).total_seconds()) if a.as_of else "never",
                a.delay,
                a.source,
            )
            for a in assets
        ],
        empty="no assets. Next: assetq symbols import",
    )


def _row(asset: StoredAsset) -> dict[str, Any]:
    return {
        "symbol": asset.symbol,
        "polygon_ticker": asset.polygon_ticker,
        "asset_type": asset.asset_type,
        "name": asset.name,
        "priority": band_name(asset.priority),
        "update_frequency_seconds": asset.update_frequency_seconds,
        "last_price": asset.last_price,
        "as_of": asset.as_of,
        "source": asset.source,
        "delay": asset.delay,
        "updated_at": asset.updated_at,
    }
