"""A whole run of `assetq up`: start everything, show what happens, stop everything in order."""

from __future__ import annotations

import logging
import os
import queue
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import redis
import structlog

from db.connection import connect
from db.errors import DatabaseError
from db.symbols import StoredAsset, SymbolRepository
from health.texts import span
from local.live import View, choose_view
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
from local.watching import Watcher
from runtime.context import Context
from runtime.logs import configure
from settings import Settings
from settings.checkout import ROOT

_LOOK_S = 0.25
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Options:
    """A run ends after `for_s` seconds, with None never. `plan` is the sandbox's."""

    for_s: float | None = None
    plan: str = "spec"
    workers: int = 2
    data: DataDir = field(default_factory=DataDir)


def run_up(options: Options) -> int:
    """Run until `for_s` is over or a signal comes; returns the exit code. Raises EmbeddedError,
    DatabaseError or SettingsError, after everything was stopped again."""
    os.chdir(ROOT)  # where .env lies
    settings = Settings.load()  # complains before anything is started
    _configure_log(settings)
    with _signals_interrupt(), LocalRun(options.data, _tell_wait, _tell_stop) as run:
        try:
            return _run(run, settings, options)
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


def _run(run: LocalRun, settings: Settings, options: Options) -> int:
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
        where = "the sandbox API (synthetic prices)" if sandbox else settings.base_url
        asked_to_end = False
        with choose_view(f"assetq: {where}, data in {run.data.path}", tally.critical) as view:
            try:
                _watch(run, Watcher(context), view, tally, options.for_s)
            except KeyboardInterrupt:
                asked_to_end = True
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


def _watch(run: LocalRun, watcher: Watcher, view: View, tally: Tally, for_s: float | None) -> None:
    """Show what happens until the time is over (or a KeyboardInterrupt comes)."""
    end_s = float("inf") if for_s is None else time.monotonic() + for_s
    away = False
    while time.monotonic() < end_s:
        for event in _drained(run.keeper.events):
            tally.deaths += event.event == "died"
            view.say(_event_text(event, run.data.log))
        if not run.keeper.alive:
            raise EmbeddedError(f"the keeper ended; see {run.data.log / 'keeper.log'}")
        try:
            for refresh in watcher.updates():
                tally.count(refresh)
                view.refreshed(refresh)
            tally.fresh.update(watcher.vouched())
            view.status(watcher.status())
            if away:
                view.say("Redis answers again")
            away = False
        except redis.RedisError as error:
            if not away:
                view.say(f"Redis does not answer ({type(error).__name__}); waiting for it")
            away = True
        time.sleep(min(_LOOK_S, max(0.0, end_s - time.monotonic())))


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
    for number in _ENDING:
        signal.signal(number, lambda *_: say("stopping already"))


@contextmanager
def _signals_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP end a run as Ctrl-C does."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in _ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
