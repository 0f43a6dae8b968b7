"""`assetq doctor`: checks everything that assetq depends on, and says what to do.

Changes nothing, and makes no call that counts.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import click

from cli.commands.doctor import configuration, database, processes, provider, redis_server
from cli.commands.doctor.finding import FAIL, OK, WARN, Finding, guarded
from cli.options import as_json
from cli.session import load_settings, masked, open_context
from cli.show.output import cell, print_json
from settings import Settings, SettingsError

_COLOURS = {OK: "green", WARN: "yellow", FAIL: "red"}


@click.command()
@as_json
def doctor(json_: bool) -> None:
    """Check connections, settings and work, and say what to do.

    Each line is ok, warn or fail; exit code 1 if anything fails.
    """
    found = []
    for finding in examine():
        remedy = finding.remedy and masked(finding.remedy)
        finding = replace(finding, text=masked(finding.text), remedy=remedy)
        found.append(finding)
        if not json_:
            _print(finding)
    counts = {status: sum(f.status == status for f in found) for status in (OK, WARN, FAIL)}
    if json_:
        print_json({"ok": not counts[FAIL], "checks": [vars(finding) for finding in found]})
    else:
        click.echo(", ".join(f"{count} {status}" for status, count in counts.items()))
    if counts[FAIL]:
        raise click.exceptions.Exit(1)


def examine() -> Iterator[Finding]:
    """All findings, in the order in which one would look; without settings there is only one."""
    try:
        settings = load_settings()
    except SettingsError as error:
        for problem in error.problems:
            yield Finding("settings", FAIL, problem.rstrip("."), "Correct this setting.")
        return
    yield from configuration.sources(settings)
    yield from configuration.key(settings)
    yield from _with_redis(settings)
    yield from _with_database(settings)
    yield from _provider(settings)


def _with_redis(settings: Settings) -> Iterator[Finding]:
    def checks() -> Iterator[Finding]:
        with open_context(settings) as context:
            for name, check in (
                ("redis", redis_server.server),
                ("redis keys", redis_server.keys),
                ("workers", processes.workers),
                ("rq workers", processes.foreign_workers),
                ("ticks", processes.failed_ticks),
                ("scheduler", processes.scheduler),
                ("schedule", processes.entries),
                ("quota", provider.quota),
                ("plan", provider.plan_memory),
            ):
                yield from guarded(name, partial(check, context))

    yield from guarded("redis", checks)


def _with_database(settings: Settings) -> Iterator[Finding]:
    yield from guarded("postgresql", partial(database.examine, settings))


def _provider(settings: Settings) -> Iterator[Finding]:
    yield from guarded("provider", partial(provider.reachable, settings))


def _print(finding: Finding) -> None:
    status = f"{finding.status:<4}"
    if sys.stdout.isatty():
        status = click.style(status, fg=_COLOURS[finding.status])
    click.echo(f"{status}  {finding.check:<11} {cell(finding.text)}")
    if finding.remedy:
        click.echo(f"{'':<17} → {cell(finding.remedy)}")
