"""`assetq up`: everything on this machine, from an empty clone to fresh prices, until Ctrl-C."""

from __future__ import annotations

import click

from cli.options import NumberRange, WholeRange
from local.starting import TIER_OF_PLAN
from local.up import Options, run_up


@click.command()
@click.option("--for", "for_s", type=NumberRange(min=1), help="End after this many seconds.")
@click.option("--plan", type=click.Choice(list(TIER_OF_PLAN)), default="spec", show_default=True,
              help="What the sandbox API allows, if it is started.")  # fmt: skip
@click.option("--workers", type=WholeRange(1, 32), default=2, show_default=True)
@click.option("--json", "json_", is_flag=True,
              help="One JSON object a line: message, refresh, failure or status; what starts and "
              "ends is told on standard error.")  # fmt: skip
def up(for_s: float | None, plan: str, workers: int, json_: bool) -> None:
    """Run everything on this machine: servers that are not configured elsewhere, the sandbox API
    if there is no API key, workers, scheduler and web pages. In a terminal it is a live
    view; q or Ctrl-C ends it.

    Exit code 1 if something could not be started, or if --for ended without every critical asset
    being fresh; 3 for settings that make no sense.
    """
    raise click.exceptions.Exit(run_up(Options(for_s, plan, workers, json_)))
