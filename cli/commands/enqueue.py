"""`assetq enqueue`: requests refreshes by hand."""

from __future__ import annotations

from collections.abc import Sequence

import click

from cli.exits import CommandError, ExitCode
from cli.names import resolve
from cli.options import PRIORITY, as_json
from cli.session import load_settings, open_context, open_database
from cli.show.output import note, print_json, print_table
from db.connection import Connection
from db.symbols import StoredAsset, SymbolRepository
from health.waits import band_name
from queueing import Outcome
from runtime.context import Context
from runtime.heartbeat import living
from worker.ticks import Ticks
from worker.work import price_request, unusable


@click.command()
@click.argument("symbols", nargs=-1, required=True, metavar="SYMBOL…")
@click.option("--priority", type=PRIORITY, help="Default: each asset's own.")
@as_json
def enqueue(symbols: tuple[str, ...], priority: int | None, json_: bool) -> None:
    """Request refreshes: of all the assets named, or of none if one is unknown.

    An asset that is pending keeps the more urgent of both requests; a dead letter is revived.
    A full queue refuses what is not critical (exit code 5). EUR/USD, eurusd and C:EURUSD are
    understood as EURUSD.
    """
    settings = load_settings()
    with open_database(settings) as connection:
        assets = find_assets(connection, symbols)
    with open_context(settings) as context:
        results = _enqueue(context, assets, priority)
        size = context.queue.size
    if json_:
        keys = ("symbol", "priority", "outcome", "detail")
        rows = [dict(zip(keys, row, strict=True)) for row in results]
        print_json({"results": rows, "pending": size})
    else:
        print_table(["symbol", "priority", "outcome", "detail"], results, empty="nothing asked")
    refused = [symbol for symbol, _, outcome, _ in results if outcome == Outcome.REFUSED]
    if refused:
        raise CommandError(
            f"refused {', '.join(refused)}: the queue is full ({size} of {settings.queue_max_size}"
            "). Wait, raise QUEUE_MAX_SIZE, or ask with --priority CRITICAL.",
            ExitCode.REFUSED,
        )


def find_assets(connection: Connection, typed: Sequence[str]) -> list[StoredAsset]:
    """The tracked assets that are meant, each once, in the given order.

    Raises CommandError naming everything that is no symbol, unknown, or malformed in the table.
    """
    repository = SymbolRepository(connection)
    known = repository.get_many(list(typed))
    if not known.keys() >= set(typed):
        known = {asset.symbol: asset for asset in repository.list()}
    names = resolve(
        typed,
        {symbol: [asset.polygon_ticker] for symbol, asset in known.items()},
        what="a tracked symbol",
        remedy="`assetq symbols list` shows all; `assetq symbols import FILE` adds more."
        if known
        else "There are none. Run `assetq symbols import`.",
    )
    assets = [known[name] for name in names]
    flaws = [why for asset in assets if (why := unusable(asset.symbol, asset.polygon_ticker))]
    if flaws:
        raise CommandError(
            [f"trading.symbols: {why}. Correct that row." for why in flaws], ExitCode.USAGE
        )
    return assets


def _enqueue(
    context: Context, assets: Sequence[StoredAsset], priority: int | None
) -> list[tuple[str, str, Outcome, str | None]]:
    """symbol, band, outcome and detail, in the order of the request."""
    results = {}
    for band in sorted({priority or asset.priority for asset in assets}):
        group = [asset for asset in assets if (priority or asset.priority) == band]
        reply = context.queue.enqueue(map(price_request, group), band, revive=True)
        for symbol, outcome, detail in reply.results:
            results[symbol] = (symbol, band_name(band), outcome, detail)
    start_work(context)
    return [results[asset.symbol] for asset in assets]


def start_work(context: Context) -> None:
    """Start a drain unless one waits; says so if no worker can take it."""
    if not context.queue.next_at().waiting:
        ticks = Ticks(context.redis, context.keys)
        try:
            ticks.ensure_drain()
        finally:
            ticks.close()
    if not living(context.redis, context.keys, "worker"):
        note("note: no worker is alive, so this waits. Start one, or run `assetq drain`.")
