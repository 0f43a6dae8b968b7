"""`assetq drain`: refreshes what is queued, in this process."""

from __future__ import annotations

import logging

import click

from cli.options import NumberRange, as_json
from cli.session import load_settings
from cli.show.causes import Wait, look
from cli.show.output import note, print_json
from local.foreground import drain_for, drain_now, open_session


@click.command()
@click.option("--for", "for_s", type=NumberRange(0.1, 24 * 3600), help="Seconds to go on.")
@as_json
def drain(for_s: float | None, json_: bool) -> None:
    """Refresh what is queued, in this process, under the same quota as all workers.

    Without --for it takes the calls that are free now and ends; with it, it waits for further
    calls until the time is over or nothing is pending. Ctrl-C finishes the call in flight.
    """
    settings = load_settings(log_level=logging.INFO)
    with open_session(settings) as session:
        outcome = drain_now(session) if for_s is None else drain_for(session, for_s)
        wait = Wait.of_refresh(look(session.context))
        pending = session.context.queue.size
    if json_:
        print_json({"api_calls_used": outcome.calls, "total_items": pending, **wait.as_dict()})
    else:
        click.echo(f"calls made: {outcome.calls}, still pending: {pending}")
        if pending:
            note(f"waits {wait.text()}")
    if outcome.signal is not None:
        raise click.exceptions.Exit(128 + outcome.signal)
