"""`assetq queue`: what is queued, in which order, and what it waits for."""

from __future__ import annotations

from collections.abc import Sequence

import click

from cli.names import resolve
from cli.options import WholeRange, as_json
from cli.session import open_context
from cli.show.causes import Wait, look, told
from cli.show.output import cell, print_facts, print_json, print_table
from health.next_call import notes
from health.pending import Pending
from health.texts import span
from health.waits import Listed, band_name, waited_s
from queueing import Stats


@click.group()
def queue() -> None:
    """What is queued, and what it waits for."""


@queue.command()
@as_json
def stats(json_: bool) -> None:
    """The size of the queue, and what its next item waits for.

    total_items counts items that may run now (by_priority), delayed ones (pausing before a retry)
    and leased ones (in work). Beyond max_size new ones are refused unless they are critical: that
    is QUEUE_MAX_SIZE, or 1,000 or three for each asset.
    """
    with open_context() as context:
        now = context.queue.stats()
        head, size = context.queue.peek(1), context.queue.max_size
        facts = look(context)
    wait = Wait.of_refresh(facts)
    quiet = [told(note, facts) for note in notes(facts.state)] if facts.state else []
    following = head[0].symbol if head else None
    if json_:
        print_json(_stats_document(now, following, size, wait) | {"notes": quiet})
        return
    print_facts(
        [
            ("total", now.pending),
            *((f"  {band.name}", count) for band, count in now.queued.items()),
            ("  delayed", now.delayed),
            ("  in work", now.leased),
            ("dead letters", now.dead),
            ("room left", f"{max(0, size - now.pending)} of {size}"),
            ("oldest queued", span(now.oldest_item_age_seconds) if head else None),
            ("next", following),
            ("waits", wait.text()),
            ("to do", wait.cause and wait.cause.remedy),
            *(("note", note) for note in quiet),
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
@click.option("--limit", type=WholeRange(1, 1_000_000), default=50, show_default=True)
@as_json
def list_(symbols: tuple[str, ...], limit: int, json_: bool) -> None:
    """Pending items: those in work, queued ones in the order of claims, delayed ones by time.

    Only those of SYMBOL, if any is named. Each is told when it is expected to be taken, and what
    frees it; that holds unless something more urgent is asked for meanwhile, or calls fail.
    """
    with open_context() as context:
        count = context.queue.size if symbols else limit
        pending = Pending.look(context, look(context), count)
        found = _named(pending, symbols) if symbols else pending.listed
        size = context.queue.size
    if json_:
        print_json([pending.as_dict(one) for one in found])
        return
    print_table(
        ["symbol", ">rank", "priority", ">waited", "state", "expected", "because", "last error"],
        [_row(pending, one) for one in found],
        empty="nothing is queued",
    )
    if size > len(found) and not symbols:
        click.echo(f"… and {size - len(found)} more (--limit)")


def _row(pending: Pending, one: Listed) -> tuple[object, ...]:
    item, expected = one.item, pending.of(one.item.symbol)
    failed = f"attempt {item.attempts}: {item.last_error}" if item.attempts else item.last_error
    return (
        item.symbol,
        expected.rank,
        band_name(item.priority),
        span(waited_s(item, pending.now_ms)),
        one.text(pending.now_ms),
        expected.text(pending.now_ms) if one.state != "leased" else None,
        expected.why() if one.state == "queued" else None,
        cell(failed),
    )


def _named(pending: Pending, symbols: Sequence[str]) -> list[Listed]:
    """The pending items that are meant. Raises CommandError."""
    names = resolve(
        symbols,
        {one.item.symbol: [] for one in pending.listed},
        what="pending",
        remedy="`assetq enqueue` requests it.",
    )
    return [one for one in pending.listed if one.item.symbol in names]


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
