"""Errors as lines for the person who typed the command: cause, remedy, exit code.

Imported when a command has failed, because it imports every room that can raise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from redis.exceptions import RedisError

from cli.exits import CommandError, ExitCode
from db.errors import BadDatabaseUrl, DatabaseError, DatabaseUnavailable
from local.servers.errors import EmbeddedError
from market.errors import InvalidTicker, MarketError
from queueing import InvalidRequest, QueueingError
from runtime.redis_outage import OutageKind, diagnose
from settings import SettingsError
from settings.catalogue import CatalogueError, CatalogueMissing


@dataclass(frozen=True)
class Explained:
    """What to print, one line each, and the exit code."""

    lines: tuple[str, ...]
    code: ExitCode


def explain(error: BaseException, *, redis_at: str | None = None) -> Explained | None:
    """The cause and the remedy of an error of ours or of a server; None for an unexpected one.

    `redis_at` is the URL of Redis as it may be shown.
    """
    if isinstance(error, CommandError):
        return Explained(tuple(error.problems), error.code)
    if isinstance(error, RedisError):
        return _redis(error, redis_at)
    for kind, code, tell in _ERRORS:
        if isinstance(error, kind):
            told: str | Sequence[str] = tell(error)
            return Explained((told,) if isinstance(told, str) else tuple(told), code)
    return None


def _sentence(error: BaseException) -> str:
    return f"{str(error).rstrip('.')}."


def _problems(error: Any) -> Sequence[str]:
    return list(error.problems)


def _file(error: Any) -> str:
    return f"{error.filename}: {error.strerror}."


def _catalogue(error: BaseException) -> Sequence[str]:
    return *str(error).splitlines(), "Nothing was changed. Correct the file and try again."


def _postgresql(error: Any) -> str:
    text = (error.diag.message_primary or type(error).__name__).rstrip(".")
    return f"PostgreSQL refused: {text}. `assetq doctor` looks for the cause."


_ERRORS: tuple[
    tuple[type[BaseException], ExitCode, Callable[[BaseException], str | Sequence[str]]], ...
] = (
    (SettingsError, ExitCode.SETTINGS, _problems),
    (CatalogueMissing, ExitCode.NOT_FOUND, _catalogue),
    (CatalogueError, ExitCode.USAGE, _catalogue),
    (InvalidRequest, ExitCode.USAGE, _sentence),
    (QueueingError, ExitCode.OTHER, _sentence),
    (InvalidTicker, ExitCode.USAGE, _sentence),
    (MarketError, ExitCode.OTHER, _sentence),
    (BadDatabaseUrl, ExitCode.SETTINGS, _sentence),
    (DatabaseUnavailable, ExitCode.UNREACHABLE, _sentence),
    (DatabaseError, ExitCode.OTHER, _sentence),
    (psycopg.Error, ExitCode.OTHER, _postgresql),
    (EmbeddedError, ExitCode.OTHER, _sentence),
    (FileNotFoundError, ExitCode.NOT_FOUND, _file),
    (PermissionError, ExitCode.NOT_FOUND, _file),
    (IsADirectoryError, ExitCode.NOT_FOUND, _file),
)
"""The first row whose class matches: a subclass stands above its base."""


_OTHER = ExitCode.OTHER
_CODES = {
    OutageKind.UNREACHABLE: ExitCode.UNREACHABLE,
    OutageKind.LOADING: ExitCode.UNREACHABLE,
    OutageKind.CLIENTS: ExitCode.UNREACHABLE,
    OutageKind.LOGIN: ExitCode.UNREACHABLE,
    OutageKind.RIGHTS: ExitCode.UNREACHABLE,
    OutageKind.PROTECTED: ExitCode.UNREACHABLE,
    OutageKind.MEMORY: ExitCode.REFUSED,
    OutageKind.DATABASE: ExitCode.SETTINGS,
}
"""Other kinds are OTHER."""
_WRONG_TYPE = (
    "A key of assetq holds something else{at}. `assetq doctor` names it; rename or delete that "
    "key, or give assetq a Redis database of its own."
)


def _redis(error: RedisError, place: str | None) -> Explained:
    """The words of `runtime.redis_outage`, and where Redis is."""
    at = f", at {place}" if place else ""
    if "WRONGTYPE" in str(error):
        return Explained((_WRONG_TYPE.format(at=at),), _OTHER)
    found = diagnose(error)
    if found is None:
        text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        return Explained((f"Redis{at}: {text}. `assetq doctor` looks for the cause.",), _OTHER)
    return Explained((f"{found.cause}{at}. {found.remedy}",), _CODES.get(found.kind, _OTHER))
