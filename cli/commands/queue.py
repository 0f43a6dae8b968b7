"""`assetq queue`: what is queued, in which order, and what it waits for."""

from __future__ import annotations

from collections.abc import Sequence

import click

from cli.names import resolve
from cli.options import as_json
from cli.session import open_context
from cli.show.causes import Wait, look
from cli.show.output import cell, print_facts, print_json, print_table
from health.texts import span
from health.waits import Listed, band_name, listing, waited_s
from queueing import Stats
from runtime.context import Context


@click.group()
def queue() -> None:
    """What is queued, and what it waits for."""


@queue.command()
@as_json
def stats(json_: bool) -> None:
    """The size of the queue, and what its next item waits for.

    total_items counts items that may run now (by_priority), delayed ones (pausing before a retry)
    and leased ones (in work). QUEUE_MAX_SIZE bounds it.
    """
    with open_context() as context:
        now = context.queue.stats()
        head = context.queue.peek(1)
        wait = Wait.of_refresh(look(context))
    following = head[0].symbol if head else None
    if json_:
        print_json(_stats_document(now, following, context.settings.queue_max_size, wait))
        return
    print_facts(
        [
            ("total", now.pending),
            *((f"  {band.name}", count) for band, count in now.queued.items()),
            ("  delayed", now.delayed),
            ("  in work", now.leased),
            ("dead letters", now.dead),
            ("room left", max(0, context.settings.queue_max_size - now.pending)),
            ("oldest queued", span(now.oldest_item_age_seconds) if head else None),
            ("next", following),
            ("waits", wait.text()),
            ("to do", wait.cause and wait.cause.remedy),
        ]
    )


def _stats_document(
    now: Stats, following: str | None, max_size: int, wait: Wait
) -> dict[str, object]:
    return {
        "total_items": now.pending,
        "by_priority": {band.name: count for band, count in now.queued.items()},
        "oldest_item_age_seconds": now.oldest_item_age_seconds,
        "delayed": now.delayed,
        "leased": now.leased,
        "dead": now.dead,
        "max_size": max_size,
        "next": following,
        **wait.as_dict(),
        "drain_waiting": now.hint.waiting,
    }


@queue.command("list")
@click.argument("symbols", nargs=-1, metavar="[SYMBOL…]")
@click.option("--limit", type=click.IntRange(1, 1_000_000), default=50, show_default=True)
@as_json
def list_(symbols: tuple[str, ...], limit: int, json_: bool) -> None:
    """Pending items: those in work, queued ones in the order of claims, delayed ones by time.

    Only those of SYMBOL, if any is named.
    """
    with open_context() as context:
        found = _named(context, symbols) if symbols else listing(context.queue, limit)
        now_ms = context.redis_now_ms()
        size = context.queue.size
    if json_:
        print_json([one.as_dict(now_ms) for one in found])
        return
    print_table(
        ["symbol", "priority", "score", ">waited", ">attempts", "state", "last error"],
        [
            (
                one.item.symbol,
                band_name(one.item.priority),
                one.item.score,
                span(waited_s(one.item, now_ms)),
                one.item.attempts,
                one.text(now_ms),
                cell(one.item.last_error),
            )
            for one in found
        ],
        empty="nothing is queued",
    )
    if size > len(found) and not symbols:
        click.echo(f"… and {size - len(found)} more (--limit)")


def _named(context: Context, symbols: Sequence[str]) -> list[Listed]:
    """The pending items that are meant. Raises CommandError."""
    names = resolve(
        symbols,
        {name: [] for name in context.queue.pending()},
        what="pending",
        remedy="`assetq enqueue` requests it.",
    )
    return [one for one in listing(context.queue, context.queue.size) if one.item.symbol in names]


@queue.command()
@as_json
def peek(json_: bool) -> None:
    """The next item to be claimed, and what holds it."""
    with open_context() as context:
        head = context.queue.peek(1)
        wait = Wait.of_refresh(look(context))
        now_ms = wait.facts.now_ms
    if json_:
        item = Listed(head[0], "queued").as_dict(now_ms) if head else None
        print_json({"item": item, **wait.as_dict()})
    elif not head:
        click.echo(f"nothing is queued; waits {wait.text()}")
    else:
        print_facts(
            [
                ("next", head[0].symbol),
                ("priority", band_name(head[0].priority)),
                ("score", head[0].score),
                ("waited", span(waited_s(head[0], now_ms))),
                ("attempts", head[0].attempts),
                ("last error", head[0].last_error),
                ("waits", wait.text()),
                ("to do", wait.cause and wait.cause.remedy),
            ]
        )
