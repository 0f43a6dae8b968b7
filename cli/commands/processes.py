"""The processes of the Procfile: `assetq worker`, `scheduler`, `web` and `release`.

Each becomes what a longer line would start, from this checkout, with the options that it must not
lack. They read the settings of their host, not those of an `assetq up` that runs beside them.
"""

from __future__ import annotations

import signal
import sys
from typing import NoReturn

import click

from runtime.rq_environment import dropped

PASSED_ON = {"ignore_unknown_options": True}
"""Options of the program behind a command are left to it."""

RQ_OPTIONS = (
    *("-c", "worker.rq_config", "-S", "json"),
    *("--worker-class", "worker.rq_classes.TickWorker", "--job-class", "worker.rq_classes.TickJob"),
)
"""What `rq worker` needs to run ticks, and nothing else."""


@click.command(context_settings=PASSED_ON, options_metavar="")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def worker(options: tuple[str, ...]) -> NoReturn:
    """Refresh assets until SIGTERM: `rq worker` with all that it needs, and OPTIONS.

    Ends with 0 as soon as the call in hand is finished.
    """
    from rq.cli.cli import main as rq

    from runtime.procfile import follow_shell

    for name in dropped():
        click.echo(f"assetq: {name} belongs to another program and is ignored", err=True)
    follow_shell()
    sys.exit(rq(args=["worker", *RQ_OPTIONS, *options], prog_name="rq"))


@click.command()
def scheduler() -> NoReturn:
    """Start batches, rounds and drains when they are due, until SIGTERM.

    Any number may run: one at a time has the lock.
    """
    from runtime.procfile import follow_shell
    from scheduler.__main__ import main

    follow_shell()
    sys.exit(main())


@click.command(context_settings=PASSED_ON, options_metavar="")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def web(options: tuple[str, ...]) -> NoReturn:
    """Serve health, metrics and dashboard until SIGTERM: `gunicorn` with OPTIONS.

    Listens on 127.0.0.1:8000, or on 0.0.0.0:PORT where a host sets PORT. Under honcho and foreman,
    which set PORT too, it is 127.0.0.1:PORT. `--bind ADDRESS:PORT` has the last word.
    """
    from gunicorn.app.wsgiapp import WSGIApplication

    from runtime.procfile import follow_shell
    from settings.checkout import ROOT

    follow_shell()
    config = str(ROOT / "web" / "gunicorn_config.py")
    sys.argv = ["gunicorn", "--config", config, *options, "web.app:application"]
    sys.exit(WSGIApplication("%(prog)s [OPTIONS]").run())


@click.command()
@click.pass_context
def release(ctx: click.Context) -> None:
    """Prepare the database for this version, before it starts: `assetq migrate`.

    Among the processes of `honcho start` or `foreman start`, where the end of one ends all, it then
    stays until SIGTERM.
    """
    from cli.commands.migrate import migrate
    from runtime.procfile import follow_shell, process_name

    ctx.invoke(migrate)
    if process_name() is None:
        return
    ends = {signal.SIGTERM, signal.SIGINT}
    signal.pthread_sigmask(signal.SIG_BLOCK, ends)  # a second one strikes nothing on the way out
    click.echo("stays, so that the other processes go on")
    follow_shell()
    signal.sigwait(ends)
