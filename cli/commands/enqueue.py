"""`assetq enqueue`: requests refreshes by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import click

from cli.exits import CommandError, ExitCode
from cli.names import resolve
from cli.options import PRIORITY, NumberRange, as_json
from cli.session import load_settings, open_context, open_database
from cli.show.causes import look
from cli.show.output import print_json, print_table
from cli.show.waiting import Waiting, pending_of, tell_idle
from db.connection import Connection
from db.symbols import StoredAsset, SymbolRepository
from health.expected import Expected
from health.pending import Pending
from health.texts import names
from health.waits import band_name
from queueing import Outcome
from runtime.context import Context
from worker.ticks import start_drain
from worker.work import price_request, unusable


@click.command()
@click.argument("symbols", nargs=-1, required=True, metavar="SYMBOL…")
@click.option("--priority", type=PRIORITY, help="Default: each asset's own.")
@click.option("--wait", "wait_", is_flag=True, help="Wait for the result.")
@click.option(
    "--timeout",
    "timeout_s",
    type=NumberRange(1, 24 * 3600),
    default=300,
    show_default=True,
    help="Seconds to wait for the result; the work goes on after that.",
)
@as_json
def enqueue(
    symbols: tuple[str, ...], priority: int | None, wait_: bool, timeout_s: float, json_: bool
) -> None:
    """Request refreshes: of all the assets named, or of none if one is unknown.

    An asset that is pending keeps the more urgent of both requests; a dead letter is revived.
    A full queue refuses what is not critical (exit code 5). EUR/USD, eurusd and C:EURUSD are
    understood as EURUSD. Each asset is told when it is expected to be taken. With --wait the exit
    code is 1 if an asset was given up, and 7 if the time is over.
    """
    settings = load_settings()
    with open_database(settings) as connection:
        assets = find_assets(connection, symbols)
    with open_context(settings) as context:
        waiting = Waiting(context)
        results = _enqueue(context, assets, priority)
        refused = [asked.symbol for asked in results if asked.outcome is Outcome.REFUSED]
        pending = Pending.look(context, look(context))
        results = _forecast(context, pending, results)
        if wait_ and not refused:
            waiting.for_all([asked.symbol for asked in results], timeout_s)
        size, most = context.queue.size, context.queue.max_size
    if json_:
        rows = [asked.as_dict() | waiting.as_dict(asked.symbol) for asked in results]
        print_json({"results": rows, "pending": size})
    elif waiting.ended:
        print_table(["symbol", "result", "price", "why"], waiting.rows(), empty="nothing asked")
    else:
        rows_ = [asked.row(pending.now_ms) for asked in results]
        print_table(
            ["symbol", "priority", "outcome", "expected", "because"], rows_, empty="nothing asked"
        )
    _complain(refused, waiting, size, most, timeout_s)


def _complain(
    refused: Sequence[str], waiting: Waiting, size: int, max_size: int, timeout_s: float
) -> None:
    """Raises CommandError unless all went well."""
    if refused:
        raise CommandError(
            f"refused {', '.join(refused)}: the queue is full ({size} of {max_size}"
            "). Wait, raise QUEUE_MAX_SIZE, or ask with --priority CRITICAL.",
            ExitCode.REFUSED,
        )
    if waiting.dead:
        raise CommandError(f"{names(waiting.dead)}: given up. `assetq dead retry` asks again.")
    if waiting.open:
        raise CommandError(
            f"not finished within {timeout_s:g} s: {names(waiting.open)} still pending. The work "
            "goes on; `assetq queue list` says why it waits.",
            ExitCode.TIMEOUT,
        )


@dataclass(frozen=True)
class _Asked:
    """What became of one request."""

    symbol: str
    band: str
    outcome: Outcome
    detail: str | None
    expected: Expected = field(default_factory=lambda: Expected(None, None))
    over: bool = False
    """It was taken and ended before anybody could look."""

    def as_dict(self) -> dict[str, Any]:
        asked = {"symbol": self.symbol, "priority": self.band, "outcome": self.outcome}
        return {**asked, "detail": self.detail, **self.expected.as_dict()}

    def row(self, now_ms: int) -> tuple[object, ...]:
        asked = (self.symbol, self.band, self.outcome)
        if self.outcome is Outcome.REFUSED:
            return (*asked, None, self.detail)
        if self.over:
            return (*asked, "was taken at once", None)
        return (*asked, self.expected.text(now_ms), self.expected.why())


def find_assets(connection: Connection, typed: Sequence[str]) -> list[StoredAsset]:
    """The tracked assets that are meant, each once, in the given order.

    Raises CommandError naming everything that is no symbol, unknown, paused, or malformed in the
    table.
    """
    repository = SymbolRepository(connection)
    known = repository.get_many(list(typed), paused=True)
    if not known.keys() >= set(typed):
        known = {asset.symbol: asset for asset in repository.list(paused=True)}
    names = resolve(
        typed,
        {symbol: [asset.polygon_ticker] for symbol, asset in known.items()},
        what="a tracked symbol",
        remedy="`assetq symbols list` shows all; `assetq symbols import FILE` adds more."
        if known
        else "There are none. Run `assetq symbols import`.",
    )
    assets = [known[name] for name in names]
    if paused := [asset.symbol for asset in assets if not asset.active]:
        raise CommandError(
            [f"{s} is paused. `assetq symbols resume {s}` asks for it again." for s in paused],
            ExitCode.NOT_FOUND,
        )
    flaws = [why for asset in assets if (why := unusable(asset.symbol, asset.polygon_ticker))]
    if flaws:
        raise CommandError(
            [f"trading.symbols: {why}. Correct that row." for why in flaws], ExitCode.USAGE
        )
    return assets


def _enqueue(context: Context, assets: Sequence[StoredAsset], priority: int | None) -> list[_Asked]:
    """What became of each request, in their order."""
    results = {}
    for band in sorted({priority or asset.priority for asset in assets}):
        group = [asset for asset in assets if (priority or asset.priority) == band]
        reply = context.queue.enqueue(map(price_request, group), band, revive=True)
        for symbol, outcome, detail in reply.results:
            results[symbol] = _Asked(symbol, band_name(band), outcome, detail)
    start_work(context)
    return [results[asset.symbol] for asset in assets]


def _forecast(context: Context, pending: Pending, results: Sequence[_Asked]) -> list[_Asked]:
    """The requests with what is expected of each; `pending` was read after they were made."""
    unseen = [asked.symbol for asked in results if asked.symbol not in pending.expected]
    over = set(unseen) - pending_of(context, unseen)
    return [
        replace(asked, expected=pending.of(asked.symbol), over=asked.symbol in over)
        for asked in results
    ]


def start_work(context: Context) -> None:
    """Start a drain unless one waits; says so if no worker can take it."""
    start_drain(context)
    tell_idle(context)
