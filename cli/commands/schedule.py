"""`assetq schedule`: when batches, rounds and drains run."""

from __future__ import annotations

from datetime import datetime

import click

from cli.options import as_json
from cli.session import open_context
from cli.show.output import note, print_json, print_table
from health.texts import clock
from runtime.heartbeat import living
from scheduler.entries import schedule as entries


@click.group()
def schedule() -> None:
    """When batches and rounds run."""


@schedule.command("list")
@as_json
def list_(json_: bool) -> None:
    """The periodic ticks and their next runs (slots of Redis' clock)."""
    with open_context() as context:
        rows = entries(context)
        now_ms = context.redis_now_ms()
        schedulers = living(context.redis, context.keys, "scheduler")
    if json_:
        print_json(rows)
    else:
        print_table(
            ["id", "name", "next run", "trigger"],
            [(r["id"], r["name"], _when(r["next_run"], now_ms), r["trigger"]) for r in rows],
            empty="nothing is scheduled",
        )
    if not schedulers:
        note("note: no scheduler is alive, so none of this runs. Start one: assetq scheduler")


def _when(next_run: str | None, now_ms: int) -> str:
    if next_run is None:
        return "not set; a scheduler sets it when it starts"
    return clock(int(datetime.fromisoformat(next_run).timestamp() * 1000), now_ms)
