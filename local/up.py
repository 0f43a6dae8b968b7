"""A whole run of `assetq up`: start everything, show what happens, stop everything in order."""

from __future__ import annotations

import logging
import os
import queue
import signal
import sys
from collections.abc import Iterator
from contextlib import nullcontext, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import structlog

from db.connection import connect
from db.errors import DatabaseError
from db.symbols import StoredAsset, SymbolRepository
from health.texts import span
from local.following import follow
from local.live import TITLE, choose_view
from local.servers.errors import EmbeddedError
from local.servers.launcher import Event
from local.servers.local import LocalRun
from local.servers.state import DataDir
from local.starting import (
    prepare_database,
    resume_quota,
    say,
    start_sandbox,
    start_servers,
)
from local.summary import Tally, summary
from local.terminal import ENDING, signals_interrupt
from local.views import View
from local.watching import Watcher
from runtime.context import Context
from runtime.logs import configure
from settings import Settings
from settings.checkout import ROOT


@dataclass(frozen=True)
class Options:
    """A run ends after `for_s` seconds, with None never. `plan` is the sandbox's. With `json`,
    standard output is JSON lines alone, and people read standard error."""

    for_s: float | None = None
    plan: str = "spec"
    workers: int = 2
    json: bool = False
    data: DataDir = field(default_factory=DataDir)


def run_up(options: Options) -> int:
    """Run until `for_s` is over or a signal comes; returns the exit code. Raises EmbeddedError,
    DatabaseError or SettingsError, after everything was stopped again."""
    os.chdir(ROOT)  # where .env lies
    settings = Settings.load()  # complains before anything is started
    _configure_log(settings)
    out = sys.stdout if options.json else None
    aside = redirect_stdout(sys.stderr) if out else nullcontext()
    with aside, signals_interrupt(), LocalRun(options.data, _tell_wait, _tell_stop) as run:
        try:
            return _run(run, settings, options, out)
        except KeyboardInterrupt:
            return 0
        finally:
            _ignore_signals()
            say("stopping: workers finish what they do (up to 25 s)")
    raise AssertionError("a run returns or raises")


def _configure_log(settings: Settings) -> None:
    """Log warnings only: what happens is shown in our own words."""
    configure(settings)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))


def _run(run: LocalRun, settings: Settings, options: Options, out: TextIO | None) -> int:
    port_is_given = settings.port is not None
    if "base_url" in settings.model_fields_set:
        settings.required_api_key()
    start_servers(run, settings)
    sandbox = start_sandbox(run, settings, options.plan)
    os.environ.update(run.values)
    settings = Settings.load()
    resume_quota(run, settings)
    critical = prepare_database(settings)
    pages = run.start_programs(options.workers, port_is_given=port_is_given)
    say(f"{options.workers} workers, scheduler and web started; logs in {run.data.log}")
    if pages:
        say(f"health: {pages}/health/batch")
    with Context.open(settings) as context:
        tally = Tally(critical)
        title = TITLE if sandbox else f"assetq: prices of {settings.base_url}"
        with choose_view(title, tally.critical, json_to=out) as view:
            asked_to_end = _show(run, Watcher(context), view, tally, options.for_s)
    for line in summary(tally, sandbox, _critical_prices(settings, tally.critical)):
        say(line)
    return 0 if asked_to_end or not tally.missing else 1


def _critical_prices(settings: Settings, symbols: tuple[str, ...]) -> dict[str, StoredAsset]:
    """Read the critical assets; empty if they cannot be read any more."""
    try:
        with connect(settings.database_url) as connection:
            return SymbolRepository(connection).get_many(symbols)
    except DatabaseError as error:
        say(f"PostgreSQL does not answer any more ({error})")
        return {}


def _show(run: LocalRun, watcher: Watcher, view: View, tally: Tally, for_s: float | None) -> bool:
    """Show what happens until the time is over (False), or the user or a signal ends it (True)."""

    def look() -> None:
        for event in _drained(run.keeper.events):
            tally.deaths += event.event == "died"
            view.say(_event_text(event, run.data.log))
        if not run.keeper.alive:
            raise EmbeddedError(f"the keeper ended; see {run.data.log / 'keeper.log'}")
        tally.fresh.update(watcher.vouched())

    try:
        return follow(watcher, view, for_s, each=look, seen=tally.count)
    except KeyboardInterrupt:
        return True


def _event_text(event: Event, log_dir: Path) -> str:
    if event.event == "died":
        again = (
            "" if event.restart_in_s is None else f", starts again in {span(event.restart_in_s)}"
        )
        return f"{event.name} ended (exit code {event.code}){again}; see {log_dir / event.name}.log"
    return f"{event.name}: {event.event}" + (f" ({event.reason})" if event.reason else "")


def _tell_wait() -> None:
    say("an earlier run is still stopping; waiting for it")


def _tell_stop(event: Event) -> None:
    if event.event == "stopping":
        say(f"stopping {event.name}")
    elif event.killed:
        say(f"{event.name} did not end in time and was killed")


def _drained(events: queue.Queue[Event]) -> Iterator[Event]:
    while not events.empty():
        yield events.get()


def _ignore_signals() -> None:
    for number in ENDING:
        signal.signal(number, lambda *_: say("stopping already"))
