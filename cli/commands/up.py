"""`assetq up`: everything on this machine, from an empty clone to fresh prices, until Ctrl-C."""

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

import click
import redis
import requests
import structlog

from health.texts import span
from local.live import View, choose_view
from local.servers.errors import EmbeddedError
from local.servers.launcher import Event
from local.servers.local import LocalRun
from local.servers.state import DataDir
from local.starting import (
    TIER_OF_PLAN,
    prepare_database,
    resume_quota,
    say,
    start_sandbox,
    start_servers,
)
from local.watching import Refresh, SandboxView, Watcher
from runtime.context import Context
from runtime.logs import configure
from settings import Settings
from settings.checkout import ROOT

_LOOK_S = 0.25
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True)
class Options:
    """`for_s`: end by itself after so many seconds; None: never. `plan` is the sandbox's."""

    for_s: float | None = None
    plan: str = "spec"
    workers: int = 2
    data: DataDir = field(default_factory=DataDir)


@dataclass
class Tally:
    """What a run has seen. `fresh` are the critical assets a batch or a refresh has vouched for."""

    critical: tuple[str, ...]
    refreshes: int = 0
    symbols: set[str] = field(default_factory=set)
    fresh: set[str] = field(default_factory=set)
    deaths: int = 0

    @property
    def missing(self) -> list[str]:
        return [symbol for symbol in self.critical if symbol not in self.fresh]


@click.command()
@click.option("--for", "for_s", type=click.FloatRange(min=1), help="End after so many seconds.")
@click.option("--plan", type=click.Choice(list(TIER_OF_PLAN)), default="spec", show_default=True,
              help="What the sandbox API allows, if it is started.")  # fmt: skip
@click.option("--workers", type=click.IntRange(1, 32), default=2, show_default=True)
def up(for_s: float | None, plan: str, workers: int) -> None:
    """Run everything on this machine: servers that are not configured elsewhere, the sandbox API
    if there is no API key, workers, scheduler and web pages. Ctrl-C ends it.

    Exit code 1 if something could not be started, or if --for ended without every critical asset
    being fresh; 3 for settings that make no sense.
    """
    raise click.exceptions.Exit(run_up(Options(for_s, plan, workers)))


def run_up(options: Options) -> int:
    """Runs until `for_s` is over or a signal comes; the exit code. Raises EmbeddedError,
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
    """Only what is wrong: what happens is shown in our own words."""
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
    prepare_database(settings)
    pages = run.start_programs(options.workers, port_is_given=port_is_given)
    say(f"{options.workers} workers, scheduler and web started; logs in {run.data.log}")
    if pages:
        say(f"health: {pages}/health/batch")
    with Context.open(settings) as context:
        tally = Tally(settings.priority_assets if settings.priority_assets_enabled else ())
        where = "the sandbox API (synthetic prices)" if sandbox else settings.base_url
        asked_to_end = False
        with choose_view(f"assetq: {where}, data in {run.data.path}") as view:
            try:
                _watch(run, Watcher(context), view, tally, options.for_s)
            except KeyboardInterrupt:
                asked_to_end = True
    code = _summarize(tally, sandbox)
    return 0 if asked_to_end else code


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
                _count(tally, refresh)
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


def _count(tally: Tally, refresh: Refresh) -> None:
    tally.refreshes += 1
    tally.symbols.add(refresh.symbol)
    if refresh.symbol in tally.critical:
        tally.fresh.add(refresh.symbol)


def _summarize(tally: Tally, sandbox: SandboxView | None) -> int:
    say("")
    say(f"{tally.refreshes} refreshes of {len(tally.symbols)} assets")
    if sandbox is not None:
        try:
            told = sandbox.summary()
        except requests.RequestException as error:
            say(f"the sandbox does not answer any more ({type(error).__name__})")
        else:
            limit = "no limit" if told.limit is None else f"limit {told.limit}"
            say(
                f"the sandbox counted {told.arrivals} calls, at most {told.worst_window} in any "
                f"{told.window_s:g} s ({limit}); it refused {told.refused}"
            )
    if tally.deaths:
        say(f"processes that ended and were started again: {tally.deaths}")
    if tally.missing:
        say(f"critical assets: NOT refreshed: {', '.join(tally.missing)}")
        return 1
    say(f"critical assets: all fresh ({', '.join(tally.critical) or 'none are configured'})")
    return 0


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
