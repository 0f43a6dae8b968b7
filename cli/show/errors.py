"""Errors as lines for the person who typed the command: cause, remedy, exit code.

Imported when a command has failed, because it imports every room that can raise.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from redis import exceptions as r

from cli.exits import CommandError, ExitCode
from db.errors import BadDatabaseUrl, DatabaseError, DatabaseUnavailable
from local.servers.errors import EmbeddedError
from market.errors import InvalidTicker, MarketError
from queueing import InvalidRequest, QueueingError
from settings import SettingsError
from settings.catalogue import CatalogueError, CatalogueMissing


@dataclass(frozen=True)
class Explained:
    """What to print, one line each, and the exit code."""

    lines: tuple[str, ...]
    code: ExitCode


def explain(error: BaseException, *, redis_at: str = "Redis") -> Explained | None:
    """The cause and the remedy of an error of ours or of a server; None for an unexpected one.

    `redis_at` names the server, without a password.
    """
    if isinstance(error, CommandError):
        return Explained(tuple(error.problems), error.code)
    if isinstance(error, r.RedisError):
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
    return *str(error).splitlines(), "Nothing was imported. Correct the file and try again."


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


@dataclass(frozen=True)
class _Reply:
    """How an error of Redis is recognised (by class, or by a mark in its text) and told."""

    kinds: tuple[type[BaseException], ...]
    marks: tuple[str, ...]
    code: ExitCode
    text: str
    """{at} is the server, {text} what it said."""

    def fits(self, error: BaseException, text: str) -> bool:
        return isinstance(error, self.kinds) or any(mark in text for mark in self.marks)


_REPLIES = (
    _Reply(
        (r.AuthenticationError,),
        ("NOAUTH", "WRONGPASS"),
        ExitCode.UNREACHABLE,
        "{at} refuses the login. Check user and password in REDIS_URL.",
    ),
    _Reply(
        (r.OutOfMemoryError,),
        ("OOM command",),
        ExitCode.REFUSED,
        "{at} has no memory left. Raise its maxmemory, or free some.",
    ),
    _Reply(
        (r.NoPermissionError,),
        (),
        ExitCode.UNREACHABLE,
        "{at} does not let this user do that: {text}. Give it the rights that `assetq acl` prints.",
    ),
    _Reply(
        (),
        ("certificate verify failed",),
        ExitCode.UNREACHABLE,
        "{at} cannot be trusted: its certificate is refused{certificate}. Set "
        "REDIS_TLS_VERIFY=false if your host's certificate is self-signed, and correct the host in "
        "REDIS_URL otherwise.",
    ),
    _Reply(
        (),
        ("DB index",),
        ExitCode.SETTINGS,
        "{at} has no database of that number. Correct the end of REDIS_URL.",
    ),
    _Reply(
        (r.ConnectionError, r.TimeoutError),
        (),
        ExitCode.UNREACHABLE,
        "{at} cannot be reached: {text}. Start it, or correct REDIS_URL.",
    ),
    _Reply(
        (),
        ("WRONGTYPE",),
        ExitCode.OTHER,
        "a key of assetq at {at} holds something else. `assetq doctor` names it; rename or delete "
        "that key, or give assetq a Redis database of its own.",
    ),
    _Reply(
        (r.RedisError,),
        (),
        ExitCode.OTHER,
        "{at} refused: {text}. `assetq doctor` looks for the cause.",
    ),
)
"""The first that fits; the last one always does."""


def _redis(error: r.RedisError, redis_at: str) -> Explained:
    text = " ".join(str(error).split()).rstrip(".")
    reply = next(reply for reply in _REPLIES if reply.fits(error, text))
    # What OpenSSL says, without its file and line.
    detail = text.partition("certificate verify failed")[2].partition(" (_ssl")[0].strip(": ")
    line = reply.text.format(
        at=redis_at, text=text or "no answer", certificate=f" ({detail})" if detail else ""
    )
    return Explained((line,), reply.code)
