"""`assetq watch`: the events as consumers receive them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import click

from cli.options import NumberRange, WholeRange
from cli.session import open_context
from cli.show.output import cell, note
from health.texts import span
from health.waits import band_name
from local.following import follow
from local.live import LiveView, in_terminal
from local.terminal import signals_interrupt
from local.watching import Watcher
from queueing.foreign import json_object
from runtime.context import Context
from worker.critical import last_known
from worker.events import CHANNEL

_LOOK_S = 0.5


@click.command()
@click.option(
    "--last", type=WholeRange(0, 10_000), default=0, help="Show the last N first, as lines."
)
@click.option("--for", "for_s", type=NumberRange(0.1), help="Seconds after which to end.")
@click.option("--json", "json_", is_flag=True, help="The events as they are: one JSON a line.")
def watch(last: int, for_s: float | None, json_: bool) -> None:
    """Show each refresh as it happens, until q or Ctrl-C: in a terminal as a live view, else as
    lines.

    Events go to the channels asset:update:SYMBOL, and into a stream that holds the last ones.
    With --json nothing else is written: it is what a consumer receives. How the system stands, as
    JSON: `assetq queue stats --json`, `assetq limiter status --json`, or /health/batch.
    """
    with open_context() as context:
        if in_terminal() and not json_ and not last:
            _show(context, for_s)
            return
        if not json_:
            note("waiting for refreshes; Ctrl-C ends this")
        for event in _events(context, last, for_s):
            click.echo(event if json_ else _line(event))


def _show(context: Context, for_s: float | None) -> None:
    """The live view, which a signal ends in order."""
    settings = context.settings
    pinned = last_known(context) if settings.priority_assets_enabled else ()
    with signals_interrupt(), LiveView(f"assetq: prices of {settings.base_url}", pinned) as view:
        follow(Watcher(context), view, for_s)


def _events(context: Context, last: int, for_s: float | None) -> Iterator[str]:
    """Subscribe before reading the stream, so that no event is missed; drop those that came both
    ways."""
    end_s = float("inf") if for_s is None else time.monotonic() + for_s
    with context.redis.pubsub() as pubsub:  # type: ignore[no-untyped-call]
        pubsub.psubscribe(f"{CHANNEL}*")
        pubsub.get_message(timeout=5.0)  # the confirmation of the subscription
        seen = set()
        rows: Any = context.redis.xrevrange(context.keys.updates, count=last) if last else []
        for _, fields in reversed(rows):
            event = fields.get("event", "")
            seen.add(event)
            yield event
        while (left_s := end_s - time.monotonic()) > 0:
            message = pubsub.get_message(timeout=min(_LOOK_S, left_s))
            if message and message["type"] == "pmessage" and message["data"] not in seen:
                yield str(message["data"])


def _line(event: str) -> str:
    """One event for people. Anything may be published to these channels: what is not an event of
    assetq is shown as it came."""
    try:
        e = json_object(event)
        band, waited_s = band_name(e["priority"]), e["waited_ms"] / 1000
        price, symbol, at = float(e["last_price"]), str(e["symbol"]), str(e["timestamp"])
    except (ValueError, TypeError, KeyError):
        return cell(f"not an event of assetq: {event[:200]}")
    return cell(
        f"{symbol:<10} {price:>14.10g}  as of {at}, {e.get('delay')}, from {e.get('source')}  "
        f"[{band}, waited {span(waited_s)}]"
    )
