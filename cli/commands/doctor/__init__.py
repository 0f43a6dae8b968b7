"""`assetq doctor`: checks everything that assetq depends on, and says what to do.

Changes nothing, and makes no call that counts.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import click

from cli.commands.doctor import (
    configuration,
    contents,
    database,
    processes,
    provider,
    redis_server,
    work,
)
from cli.commands.doctor.finding import FAIL, OK, WARN, Finding, guarded
from cli.options import as_json
from cli.session import load_settings, masked
from cli.show.causes import look
from cli.show.output import cell, print_json
from health import causes
from health.rules import judge
from runtime.context import Context
from runtime.redis_outage import OutageKind
from settings import Settings, SettingsError

_SILENT = (
    *(OutageKind.UNREACHABLE, OutageKind.LOADING, OutageKind.CLIENTS),
    *(OutageKind.LOGIN, OutageKind.PRIMARY, OutageKind.PROTECTED, OutageKind.DATABASE),
)
"""Kinds of outage in which Redis tells nothing else."""
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
    with Context.open(settings) as context:
        yield from _system(settings, context)
    yield from guarded("provider", partial(provider.reachable, settings))


def _system(settings: Settings, context: Context) -> Iterator[Finding]:
    """Redis, the work, PostgreSQL. One look comes first: what it could not reach is told once."""
    try:
        facts = look(context)
    except Exception as error:  # noqa: BLE001 - damaged keys; the checks below name them
        yield from guarded("redis", partial(redis_server.server, context))
        yield from guarded("redis keys", partial(redis_server.keys, context))
        yield from guarded("work", partial(_raise, error))
        yield from guarded("postgresql", partial(database.examine, settings))
        return
    if facts.redis is None or facts.redis.kind not in _SILENT:
        yield from guarded("redis", partial(redis_server.server, context))
        yield from guarded("redis keys", partial(redis_server.keys, context))
    yield from work.findings(context, facts)
    if facts.redis is None:
        yield from guarded("redis keys", partial(contents.contents, context))
        suspended = bool(facts.state and facts.state.suspended)
        if not suspended:
            yield from guarded("rq workers", partial(processes.foreign_workers, context))
        yield from guarded("ticks", partial(processes.failed_ticks, context))
        yield from guarded("plan", partial(provider.plan_memory, context))
    if facts.database and facts.database.kind != "schema":  # migrations are told by name
        cause = causes.database(facts.database)
        yield work.finding(cause, facts, context)
    if facts.database is None or facts.database.kind != "unreachable":
        refuses = facts.database is not None and facts.database.stops
        told = {cause.key for cause in judge(facts)} & {"capacity", "share"}
        reachable = context if facts.state and not told else None
        yield from guarded(
            "postgresql", partial(database.examine, settings, reachable, refuses=refuses)
        )


def _raise(error: Exception) -> Iterator[Finding]:
    raise error


def _print(finding: Finding) -> None:
    status = f"{finding.status:<4}"
    if sys.stdout.isatty():
        status = click.style(status, fg=_COLOURS[finding.status])
    click.echo(f"{status}  {finding.check:<11} {cell(finding.text)}")
    if finding.remedy:
        click.echo(f"{'':<17} → {cell(finding.remedy)}")
