"""`assetq symbols list` and `show`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import click

from cli.assets import named
from cli.options import PRIORITY, as_json
from cli.session import load_settings, open_context, open_database
from cli.show.causes import look
from cli.show.output import print_facts, print_json, print_table
from db.symbols import StoredAsset, SymbolRepository
from health.pending import Pending
from health.texts import span
from health.waits import band_name
from queueing import DeadLetter
from worker.work import names_of


@click.command("list")
@click.option("--priority", type=PRIORITY, help="Only this band.")
@as_json
def list_(priority: int | None, json_: bool) -> None:
    """Each asset with its latest price and how old it is; paused ones last."""
    with open_database(load_settings()) as connection:
        found = SymbolRepository(connection).list(band=priority, paused=True)
    assets = sorted(found, key=lambda asset: not asset.active)
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
                band_name(a.priority) if a.active else "paused",
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


@click.command()
@click.argument("symbols", nargs=-1, required=True, metavar="SYMBOL…")
@as_json
def show(symbols: tuple[str, ...], json_: bool) -> None:
    """Everything about assets: the row, the newest price, and what waits for them.

    EUR/USD, eurusd and C:EURUSD are understood as EURUSD.
    """
    settings = load_settings()
    with open_database(settings) as connection, open_context(settings) as context:
        meant = [known.symbol for known in named(connection, symbols)]
        assets = SymbolRepository(connection).get_many(meant, paused=True)
        pending = Pending.look(context, look(context))
        dead = {letter.symbol: letter for letter in context.queue.dead()}
    found = [(assets[symbol], _waits(symbol, pending, dead)) for symbol in meant]
    if json_:
        print_json([_row(asset) | waits for asset, waits in found])
        return
    for number, (asset, waits) in enumerate(found):
        if number:
            click.echo()
        print_facts([*_facts(asset), ("price request", waits["price"]), ("bars", waits["bars"])])


def _facts(asset: StoredAsset) -> list[tuple[str, object]]:
    age = span((datetime.now(UTC) - asset.as_of).total_seconds()) if asset.as_of else None
    every = asset.update_frequency_seconds
    price = f"{asset.last_price:f}" if asset.last_price is not None else "never refreshed"
    return [
        ("symbol", asset.symbol),
        ("name", asset.name),
        ("ticker", asset.polygon_ticker),
        ("type", asset.asset_type),
        ("tracked", "yes" if asset.active else f"paused: assetq symbols resume {asset.symbol}"),
        ("priority", band_name(asset.priority)),
        ("wanted every", span(every) if every else "the secondary round"),
        ("price", price),
        ("as of", f"{asset.as_of:%Y-%m-%d %H:%M:%S} UTC, {age} ago" if asset.as_of else None),
        ("source", f"{asset.source}, {asset.delay}" if asset.source else None),
    ]


def _waits(symbol: str, pending: Pending, dead: Mapping[str, DeadLetter]) -> dict[str, str | None]:
    """What is pending of an asset, of its price and of its bars; None: nothing."""
    return {
        kind: _wait(name, pending, dead)
        for kind, name in zip(("price", "bars"), names_of(symbol), strict=True)
    }


def _wait(name: str, pending: Pending, dead: Mapping[str, DeadLetter]) -> str | None:
    expected = pending.expected.get(name)
    if expected is not None:
        why = expected.why()
        return f"expected {expected.text(pending.now_ms)}" + (f" ({why})" if why else "")
    return f"given up: {dead[name].reason}" if name in dead else None


def _row(asset: StoredAsset) -> dict[str, Any]:
    return {
        "symbol": asset.symbol,
        "polygon_ticker": asset.polygon_ticker,
        "asset_type": asset.asset_type,
        "name": asset.name,
        "active": asset.active,
        "priority": band_name(asset.priority),
        "update_frequency_seconds": asset.update_frequency_seconds,
        "last_price": asset.last_price,
        "as_of": asset.as_of,
        "source": asset.source,
        "delay": asset.delay,
        "updated_at": asset.updated_at,
    }
