"""`assetq dead`: dead letters, the requests that were given up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from cli.commands.enqueue import find_assets, start_work
from cli.exits import CommandError, ExitCode
from cli.names import resolve
from cli.options import PRIORITY, as_json
from cli.session import confirm, load_settings, open_context, open_database
from cli.show.output import print_json, print_table
from cli.show.waiting import pending_of
from health.texts import clock, iso
from queueing import DeadLetter, Outcome, Request
from runtime.context import Context
from settings import Settings
from worker.work import price_request, request_again


@click.group()
def dead() -> None:
    """Dead letters: requests that were given up."""


@dead.command("list")
@as_json
def list_(json_: bool) -> None:
    """Each dead letter with its reason, and when its asset is requested again."""
    with open_context() as context:
        letters = context.queue.dead()
        asked = pending_of(context, [letter.symbol for letter in letters])
        now_ms = context.redis_now_ms()
        rests = {letter.symbol: context.queue.rests_until_ms(letter) for letter in letters}
    if json_:
        print_json(
            [_document(x, rests[x.symbol], now_ms, asked=x.symbol in asked) for x in letters]
        )
        return
    print_table(
        ["symbol", "kind", "died", ">attempts", ">crashes", "comes back", "reason"],
        [
            (
                letter.symbol,
                letter.kind,
                clock(letter.died_at_ms, now_ms),
                letter.attempts,
                letter.crashes,
                "queued again"
                if letter.symbol in asked
                else _comes_back(rests[letter.symbol], now_ms),
                letter.reason,
            )
            for letter in letters
        ],
        empty="no dead letters",
    )


def _comes_back(until_ms: int | None, now_ms: int) -> str:
    if until_ms is None:
        return "by hand only"
    if until_ms > now_ms:
        return f"with the next round after {clock(until_ms, now_ms)}"
    return "with the next round"


def _document(
    letter: DeadLetter, until_ms: int | None, now_ms: int, *, asked: bool
) -> dict[str, Any]:
    return {
        "symbol": letter.symbol,
        "kind": letter.kind,
        "reason": letter.reason,
        "died_at": iso(letter.died_at_ms),
        "attempts": letter.attempts,
        "crashes": letter.crashes,
        "priority": letter.priority,
        "rests_until": iso(until_ms) if until_ms and until_ms > now_ms else None,
        "by_hand_only": letter.kind == "poison",
        "queued_again": asked,
    }


@dead.command()
@click.argument("symbols", nargs=-1, metavar="SYMBOL…")
@click.option("--all", "all_", is_flag=True, help="Every dead letter.")
@click.option("--priority", type=PRIORITY, help="Default: that of the request that died.")
def retry(symbols: tuple[str, ...], all_: bool, priority: int | None) -> None:
    """Put dead letters back into the queue; their attempts start at 0."""
    settings = load_settings()
    with open_context(settings) as context:
        letters = _chosen(context, symbols, all_)
        if not letters:
            click.echo("no dead letters")
        requests = _requests(settings, letters)
        refused = []
        for letter, request in zip(letters, requests, strict=True):
            reply = context.queue.enqueue([request], priority or letter.priority, revive=True)
            ((symbol, outcome, _),) = reply.results
            click.echo(f"{symbol}: {outcome}")
            refused += [symbol] if outcome == Outcome.REFUSED else []
        if letters:
            start_work(context)
    if refused:
        raise CommandError(
            f"refused {', '.join(refused)}: the queue is full. Wait, or raise QUEUE_MAX_SIZE.",
            ExitCode.REFUSED,
        )


def _requests(settings: Settings, letters: Sequence[DeadLetter]) -> list[Request]:
    """The requests that died; those whose payload was lost, or is of a newer version than ours, are
    asked anew from the database."""
    again = {letter.symbol: request_again(letter) for letter in letters}
    lost = [symbol for symbol, request in again.items() if request is None]
    if lost:
        with open_database(settings) as connection:
            again |= {a.symbol: price_request(a) for a in find_assets(connection, lost)}
    return [request for request in again.values() if request is not None]


@dead.command()
@click.argument("symbols", nargs=-1, metavar="SYMBOL…")
@click.option("--all", "all_", is_flag=True, help="Every dead letter; asks first.")
@click.option("--yes", is_flag=True, help="Do not ask.")
def drop(symbols: tuple[str, ...], all_: bool, yes: bool) -> None:
    """Delete dead letters. The next round requests their assets again."""
    with open_context() as context:
        chosen = [letter.symbol for letter in _chosen(context, symbols, all_)]
        if all_ and chosen:
            confirm(f"Delete {len(chosen)} dead letters?", yes=yes)
        dropped = context.queue.drop_dead(chosen) if chosen else 0
    click.echo(f"dropped {dropped}")


def _chosen(context: Context, symbols: Sequence[str], all_: bool) -> list[DeadLetter]:
    if bool(symbols) == all_:
        raise click.UsageError("Name symbols, or use --all, not both.")
    letters = {letter.symbol: letter for letter in context.queue.dead()}
    if all_:
        return list(letters.values())
    names = resolve(
        symbols,
        {symbol: [] for symbol in letters},
        what="among the dead letters",
        remedy="`assetq dead list` shows them.",
    )
    return [letters[name] for name in names]
