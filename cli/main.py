"""The `assetq` command: loads the module of a command, and turns every error into one line."""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any, NoReturn

import click

from cli.exits import MEANINGS, CommandError, ExitCode
from runtime.rq_environment import drop

# Command → module and attribute. Loaded when it is called, so that --help does not wait for all.
_COMMANDS = {
    "up": ("cli.commands.up:up", "Run everything on this machine until Ctrl-C."),
    "doctor": ("cli.commands.doctor:doctor", "Check connections, settings and work."),
    "migrate": ("cli.commands.migrate:migrate", "Bring the database up to date."),
    "symbols": (
        "cli.commands.symbols:symbols",
        "The tracked assets: list, show, import, validate, pause, resume, remove.",
    ),
    "coverage": ("cli.commands.coverage:coverage", "Which days of the bars are whole."),
    "bars": ("cli.commands.bars:bars", "The stored bars of an asset: table, CSV, JSON."),
    "enqueue": ("cli.commands.enqueue:enqueue", "Request refreshes of assets."),
    "queue": (
        "cli.commands.queue:queue",
        "What is queued, and what it waits for: stats, list, peek.",
    ),
    "dead": ("cli.commands.dead:dead", "Dead letters: list, retry, drop."),
    "limiter": ("cli.commands.limiter:limiter", "The quota: status, consume, block, reset."),
    "plan": ("cli.commands.plan:plan", "What the API key may do, as learned: show, forget."),
    "schedule": ("cli.commands.schedule:schedule", "When batches and rounds run: list."),
    "batch": ("cli.commands.batch:batch", "Refresh the critical assets now."),
    "drain": ("cli.commands.drain:drain", "Refresh what is queued, in this process."),
    "watch": ("cli.commands.watch:watch", "Show each refresh as it happens."),
    "rebuild": ("cli.commands.rebuild:rebuild", "Restore Redis from PostgreSQL after its loss."),
    "acl": ("cli.commands.acl:acl", "Print a Redis user with the least rights."),
    "simulate": (
        "cli.commands.simulate:simulate",
        "How fresh a plan keeps assets, and the next one.",
    ),
    "worker": ("cli.commands.processes:worker", "Procfile: refresh assets until SIGTERM."),
    "scheduler": ("cli.commands.processes:scheduler", "Procfile: start what is due."),
    "web": ("cli.commands.processes:web", "Procfile: serve health, metrics and dashboard."),
    "release": ("cli.commands.processes:release", "Procfile: migrate before a new version starts."),
}

EPILOG = (
    "\b\nExit codes:\n"
    + "\n".join(f"  {int(code):>3}  {meaning}" for code, meaning in MEANINGS.items())
    + "\n\n\b\nASSETQ_DEBUG=1 shows where an error came from. Settings come from the environment,\n"
    "then .env, then the file that ASSETQ_CONFIG names."
)


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List them in the order of the help."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Load the module of a command when it is asked for."""
        if cmd_name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[cmd_name][0].partition(":")
        command = getattr(importlib.import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a command; for an unknown one, suggest those that look like it."""
        if args and args[0] not in _COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], _COMMANDS, 1, 0.5)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise click.UsageError(f"There is no command {args[0]!r}.{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of the help without loading each command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


def _show_version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from settings.checkout import version

        click.echo(f"assetq {version()}")
        ctx.exit()


@click.group(cls=LazyGroup, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version,
    help="Show the version and exit.",
)  # fmt: skip
def assetq() -> None:
    """Keeps market assets fresh in PostgreSQL under a tiny API quota."""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run one command and exit; see `ExitCode`. No traceback unless ASSETQ_DEBUG is set."""
    sys.exit(run(argv))


def run(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    drop()
    try:
        code: Any = assetq.main(args=argv, prog_name="assetq", standalone_mode=False)
        sys.stdout.flush()
    except (KeyboardInterrupt, click.Abort):
        return ExitCode.INTERRUPTED
    except BrokenPipeError:
        _forget_stdout()
        return ExitCode.OTHER
    except click.exceptions.NoArgsIsHelpError as error:
        error.show()
        return ExitCode.USAGE
    except click.ClickException as error:
        return _usage(error)
    except Exception as error:  # noqa: BLE001 - the outermost frame: any error becomes one line
        return _failed(error)
    return code if isinstance(code, int) else ExitCode.OK


def _usage(error: click.ClickException) -> int:
    text = " ".join(error.format_message().split())
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "assetq"
    _complain([f"{text.rstrip('.')}{'' if text.endswith('?') else '.'} See `{command} --help`."])
    return ExitCode.USAGE


def _failed(error: Exception) -> int:
    from cli import session
    from cli.show.errors import explain

    if os.environ.get("ASSETQ_DEBUG"):
        _print_error("".join(traceback.format_exception(error)))
    explained = explain(error, redis_at=session.redis_at())
    if explained is None:
        where = "" if os.environ.get("ASSETQ_DEBUG") else " ASSETQ_DEBUG=1 shows where."
        explained = explain(
            CommandError(f"unexpected {type(error).__name__}: {error}. This is a defect.{where}")
        )
        assert explained is not None
    _complain(explained.lines)
    return explained.code


def _complain(lines: Sequence[str]) -> None:
    for line in lines:
        _print_error(f"assetq: {' '.join(line.split())}\n")


def _print_error(text: str) -> None:
    from cli import session

    sys.stdout.flush()
    click.echo(session.masked(text), err=True, nl=False)


def _forget_stdout() -> None:
    """Discard the rest of the output: its reader has left, and Python flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
