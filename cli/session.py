"""What a command opens: settings, log, Redis, PostgreSQL; closed when the command ends."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

from cli.exits import CommandError
from db.connection import Connection, connect
from db.migrate import require_current_schema
from local.servers.state import running_environment
from runtime.context import Context
from runtime.logs import configure
from runtime.masking import Mask, secrets_of, secrets_of_environment
from settings import Settings
from settings.urls import redacted_url

_loaded: list[Settings] = []
"""The settings of this process, for error messages: where Redis is, and what must not be shown."""


def load_settings(*, log_level: int = logging.WARNING) -> Settings:
    """Read the settings and set up the log. Raises SettingsError.

    Commands print their own results, so the log holds warnings only, unless `log_level` or
    ASSETQ_DEBUG asks for more.
    """
    settings = Settings.load(environment())
    _loaded[:] = [settings]
    level = logging.INFO if os.environ.get("ASSETQ_DEBUG") else log_level
    configure(settings, level=level)
    return settings


def environment() -> dict[str, str]:
    """This process' environment, completed by that of the `assetq up` that runs here.

    So that a command in another terminal means that run. If anything here leads elsewhere, all of
    it does: half of one site and half of another would mix sandbox prices into real data.
    """
    own = {name: value for name, value in os.environ.items() if value.strip()}
    run = running_environment()
    elsewhere = any(own.get(name, value) != value for name, value in run.items())
    if elsewhere or "DB_HOST" in own:
        return own
    return run | own


@contextmanager
def open_context(settings: Settings | None = None) -> Iterator[Context]:
    """Open Redis, which has answered. Raises SettingsError, RedisError."""
    with Context.open(settings or load_settings()) as context:
        context.redis_now_ms()  # a PING is refused while the disk is full, and this is not
        yield context


@contextmanager
def open_database(settings: Settings) -> Iterator[Connection]:
    """Open PostgreSQL with every migration applied. Raises DatabaseError."""
    with connect(settings.database_url) as connection:
        require_current_schema(connection)
        yield connection


def confirm(question: str, *, yes: bool) -> None:
    """Ask unless `yes`. Raises CommandError for a no, UsageError where there is no terminal."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError("This needs a confirmation and there is no terminal: add --yes.")
    if not click.confirm(question):
        raise CommandError("nothing was changed.")


def redis_at() -> str | None:
    """The URL of Redis without its secrets; None before the settings are read."""
    return redacted_url(_loaded[0].redis_url) if _loaded else None


def masked(text: str) -> str:
    """The text without any secret of this process."""
    known = secrets_of(_loaded[0]) if _loaded else set()
    return Mask(known | secrets_of_environment())(text)
