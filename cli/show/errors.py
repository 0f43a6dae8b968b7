"""Exit codes, and what each error looks like to whoever typed the command: cause and remedy."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum


class ExitCode(IntEnum):
    """What a command ends with. The help text lists them; scripts rely on them."""

    OK = 0
    OTHER = 1
    USAGE = 2
    SETTINGS = 3
    UNREACHABLE = 4
    REFUSED = 5
    NOT_FOUND = 6
    INTERRUPTED = 130


MEANINGS = {
    ExitCode.OK: "done",
    ExitCode.OTHER: "failed, or some of it failed (the text says what)",
    ExitCode.USAGE: "the command line or the given file makes no sense",
    ExitCode.SETTINGS: "a setting is missing or makes no sense",
    ExitCode.UNREACHABLE: "Redis or PostgreSQL cannot be reached, or refuses the login",
    ExitCode.REFUSED: "refused: the queue or Redis' memory is full",
    ExitCode.NOT_FOUND: "no such symbol, file or dead letter",
    ExitCode.INTERRUPTED: "interrupted",
}


class CommandError(Exception):
    """A command cannot do what was asked; one line per problem."""

    def __init__(self, problems: str | Sequence[str], code: ExitCode = ExitCode.OTHER) -> None:
        self.problems = [problems] if isinstance(problems, str) else list(problems)
        self.code = code
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True)
class Explained:
    """What to print, one line each, and the exit code."""

    lines: tuple[str, ...]
    code: ExitCode


def explain(error: BaseException, *, redis_at: str = "Redis") -> Explained | None:
    """The cause and the remedy of an error of ours or of a server; None: nobody expected it.

    `redis_at` names the server, without a password.
    """
    for module, name in _EXPLAINERS:
        if module in sys.modules:  # an error cannot come from what was never imported
            explained = name(error, redis_at)
            if explained:
                return explained
    return None


def _own(error: BaseException, _: str) -> Explained | None:
    if isinstance(error, CommandError):
        return Explained(tuple(error.problems), error.code)
    if isinstance(error, FileNotFoundError | PermissionError | IsADirectoryError):
        return _one(f"{error.filename}: {error.strerror}.", ExitCode.NOT_FOUND)
    return None


def _settings(error: BaseException, _: str) -> Explained | None:
    from settings import SettingsError

    if isinstance(error, SettingsError):
        return Explained(tuple(error.problems), ExitCode.SETTINGS)
    return None


def _catalogue(error: BaseException, _: str) -> Explained | None:
    from settings.catalogue import CatalogueError

    if not isinstance(error, CatalogueError):
        return None
    missing = isinstance(error.__cause__, OSError)
    lines = [*str(error).splitlines(), "Nothing was imported. Correct the file and try again."]
    return Explained(tuple(lines), ExitCode.NOT_FOUND if missing else ExitCode.USAGE)


def _queueing(error: BaseException, _: str) -> Explained | None:
    from queueing import InvalidRequest, QueueingError

    if isinstance(error, InvalidRequest):
        return _one(f"{error}.", ExitCode.USAGE)
    return _one(f"{error}.") if isinstance(error, QueueingError) else None


def _market(error: BaseException, _: str) -> Explained | None:
    from market.errors import InvalidTicker, MarketError

    if isinstance(error, InvalidTicker):
        return _one(f"{error}.", ExitCode.USAGE)
    return _one(str(error)) if isinstance(error, MarketError) else None


def _database(error: BaseException, _: str) -> Explained | None:
    from db.errors import BadDatabaseUrl, DatabaseError, DatabaseUnavailable

    if not isinstance(error, DatabaseError):
        return None
    if isinstance(error, BadDatabaseUrl):
        return _one(str(error), ExitCode.SETTINGS)
    if isinstance(error, DatabaseUnavailable):
        return _one(str(error), ExitCode.UNREACHABLE)
    return _one(str(error))


def _redis(error: BaseException, redis_at: str) -> Explained | None:
    from redis import exceptions as r

    if not isinstance(error, r.RedisError):
        return None
    text = " ".join(str(error).split()).rstrip(".")
    if isinstance(error, r.AuthenticationError) or text.startswith(("NOAUTH", "WRONGPASS")):
        return _one(
            f"{redis_at} refuses the login. Check user and password in REDIS_URL.",
            ExitCode.UNREACHABLE,
        )
    if isinstance(error, r.OutOfMemoryError) or text.startswith("OOM"):
        return _one(
            f"{redis_at} has no memory left. Raise its maxmemory, or free some.", ExitCode.REFUSED
        )
    if isinstance(error, r.NoPermissionError):
        return _one(
            f"{redis_at} does not let this user do that: {text}. Give it the rights that "
            "`assetq acl` prints.",
            ExitCode.UNREACHABLE,
        )
    if "certificate verify failed" in text:
        return _one(
            f"{redis_at} cannot be trusted: {_certificate(text)}. Set REDIS_TLS_VERIFY=false if "
            "your host's certificate is self-signed, and correct the host in REDIS_URL otherwise.",
            ExitCode.UNREACHABLE,
        )
    if text.startswith("DB index"):
        return _one(
            f"{redis_at} has no database of that number. Correct the end of REDIS_URL.",
            ExitCode.SETTINGS,
        )
    if isinstance(error, r.ConnectionError | r.TimeoutError):
        return _one(
            f"{redis_at} cannot be reached: {text or 'no answer'}. Start it, or correct REDIS_URL.",
            ExitCode.UNREACHABLE,
        )
    if "WRONGTYPE" in text:
        return _one(
            f"a key of assetq at {redis_at} holds something else. `assetq doctor` names it; "
            "rename or delete that key, or give assetq a Redis database of its own."
        )
    return _one(f"{redis_at} refused: {text}. `assetq doctor` looks for the cause.")


def _certificate(text: str) -> str:
    """What OpenSSL says, without its file and line."""
    told = text.partition("certificate verify failed")[2].partition(" (_ssl")[0].strip(": ")
    return f"its certificate is refused ({told})" if told else "its certificate is refused"


def _psycopg(error: BaseException, _: str) -> Explained | None:
    import psycopg

    if not isinstance(error, psycopg.Error):
        return None
    text = (error.diag.message_primary or type(error).__name__).rstrip(".")
    return _one(f"PostgreSQL refused: {text}. `assetq doctor` looks for the cause.")


def _embedded(error: BaseException, _: str) -> Explained | None:
    from local.servers.errors import EmbeddedError

    return _one(str(error)) if isinstance(error, EmbeddedError) else None


def _one(line: str, code: ExitCode | None = None) -> Explained:
    return Explained((line,), code or ExitCode.OTHER)


_EXPLAINERS: tuple[tuple[str, Callable[[BaseException, str], Explained | None]], ...] = (
    ("cli.show.errors", _own),
    ("settings", _settings),
    ("settings.catalogue", _catalogue),
    ("queueing", _queueing),
    ("market.errors", _market),
    ("db.errors", _database),
    ("redis", _redis),
    ("psycopg", _psycopg),
    ("local.servers.errors", _embedded),
)
