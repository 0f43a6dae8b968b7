"""What an error of Redis means: its kind, its cause in words, and the remedy.

Everything that may pass by itself is an outage and is waited for, whether Redis is absent or
answers and refuses. Only a wrong login and a missing right are not: no waiting mends them.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from redis import exceptions as r
from redis.client import Redis
from redis.sentinel import MasterNotFoundError


class OutageKind(StrEnum):
    """What keeps Redis from being used."""

    UNREACHABLE = "unreachable"
    LOADING = "loading"
    MEMORY = "memory"
    DISK = "disk"
    REPLICAS = "replicas"
    SCRIPT = "script"
    READ_ONLY = "read-only"
    PRIMARY = "primary"
    CLUSTER = "cluster"
    CLIENTS = "clients"
    PROTECTED = "protected"
    DATABASE = "database"
    COMMAND = "command"
    REFUSED = "refused"
    LOGIN = "login"
    RIGHTS = "rights"

    @property
    def passes(self) -> bool:
        """False for what only a change of the configuration ends."""
        return self not in (OutageKind.LOGIN, OutageKind.RIGHTS)


@dataclass(frozen=True)
class Outage:
    """Why Redis cannot be used. No text names a host, a user or a password."""

    kind: OutageKind
    cause: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.cause}. {self.remedy}"


_KNOWN: dict[OutageKind, tuple[str, str]] = {
    OutageKind.UNREACHABLE: ("Redis does not answer", "Start Redis, or correct REDIS_URL."),
    OutageKind.LOADING: ("Redis is loading its data", "Wait until it has loaded."),
    OutageKind.MEMORY: (
        "Redis has no memory left (maxmemory) and refuses changes",
        "Raise maxmemory, or free memory.",
    ),
    OutageKind.DISK: (
        "Redis cannot write to its disk and refuses changes",
        "Free disk space; the log of Redis tells more.",
    ),
    OutageKind.REPLICAS: (
        "Redis has too few replicas (min-replicas-to-write) and refuses changes",
        "Start its replicas, or lower min-replicas-to-write.",
    ),
    OutageKind.SCRIPT: (
        "A script keeps Redis busy",
        "Wait until it ends, or end it with `redis-cli SCRIPT KILL`.",
    ),
    OutageKind.READ_ONLY: (
        "Redis is a read-only replica",
        "Let REDIS_URL lead to the primary, or promote this server.",
    ),
    OutageKind.PRIMARY: (
        "Redis is a replica that has lost its primary",
        "Start the primary, or let REDIS_URL lead to it.",
    ),
    OutageKind.CLUSTER: (
        "The Redis cluster does not serve the keys of assetq",
        "Let REDIS_URL lead to a single primary that serves all keys.",
    ),
    OutageKind.CLIENTS: (
        "Redis has no connection left (maxclients)",
        "Raise maxclients, or end other clients.",
    ),
    OutageKind.PROTECTED: (
        "Redis is in protected mode and refuses other hosts",
        "Give its users a password and put it into REDIS_URL.",
    ),
    OutageKind.DATABASE: (
        "Redis has no database of that number",
        "Correct the end of REDIS_URL.",
    ),
    OutageKind.COMMAND: (
        "Redis lacks a command",
        "Use Redis 7.0 or newer, or Valkey, whose commands are not renamed.",
    ),
    OutageKind.REFUSED: ("Redis refuses a command", "`assetq doctor` looks for the cause."),
    OutageKind.LOGIN: (
        "Redis refuses the login",
        "Correct user and password in REDIS_URL.",
    ),
    OutageKind.RIGHTS: (
        "Redis does not let this user work",
        "Give it the rights that `assetq acl` prints.",
    ),
}
_DETAILED = (
    *(OutageKind.UNREACHABLE, OutageKind.COMMAND),
    *(OutageKind.REFUSED, OutageKind.RIGHTS),
)
"""Kinds whose cause quotes the error, because the kind alone does not tell what to do."""
_CERTIFICATE = (
    "The certificate of Redis is refused",
    "Set REDIS_TLS_VERIFY=false if it is self-signed, else correct the host in REDIS_URL.",
)
_CLASSES: tuple[tuple[type[r.RedisError], OutageKind], ...] = (
    (r.AuthenticationError, OutageKind.LOGIN),
    (r.AuthorizationError, OutageKind.LOGIN),
    (r.AuthenticationWrongNumberOfArgsError, OutageKind.LOGIN),
    (r.NoPermissionError, OutageKind.RIGHTS),
    (r.BusyLoadingError, OutageKind.LOADING),
    (r.OutOfMemoryError, OutageKind.MEMORY),
    (r.ReadOnlyError, OutageKind.READ_ONLY),
    (r.MasterDownError, OutageKind.PRIMARY),
    (r.ClusterError, OutageKind.CLUSTER),
    (r.AskError, OutageKind.CLUSTER),  # and MOVED
    (r.TryAgainError, OutageKind.CLUSTER),
)
_WORDS = (
    # EXECABORT names the reason within its own text; a script that hides one names it by its code.
    (r"\b(NOAUTH|WRONGPASS)\b|invalid username-password|\bAUTH\b.*called", OutageKind.LOGIN),
    (r"\bNOPERM\b|ACL failure in script|user executing the script", OutageKind.RIGHTS),
    (r"\bOOM\b|used memory > 'maxmemory'", OutageKind.MEMORY),
    (r"\bMISCONF\b", OutageKind.DISK),
    (r"\bNOREPLICAS\b", OutageKind.REPLICAS),
    (r"\bBUSY\b", OutageKind.SCRIPT),
    (r"\bREADONLY\b|\bUNBLOCKED\b", OutageKind.READ_ONLY),
    (r"\bLOADING\b", OutageKind.LOADING),
    (r"\bMASTERDOWN\b", OutageKind.PRIMARY),
    (r"\b(CLUSTERDOWN|TRYAGAIN|MOVED|ASK|CROSSSLOT)\b", OutageKind.CLUSTER),
    (r"max number of clients", OutageKind.CLIENTS),
    (r"\bDENIED\b", OutageKind.PROTECTED),
    (r"\bDB index\b", OutageKind.DATABASE),
    (r"\b[Uu]nknown (?:Redis )?command\b", OutageKind.COMMAND),
)
_PIPELINED = re.compile(r"^Command # \d+ \(.*?\) of pipeline caused error: ", re.DOTALL)
_UNSAID = re.compile(
    r"^Error (?:-?\d+ )?connecting to .*?\. "  # the place
    r"|(?<=reading from) \S+(?= ?:)"
    r"|^(?:ACL failure in script: )?(?:[Tt]his user|User \S+) has "
    r"|, with args beginning with:.*| script: .*| \(_ssl.*"
)
_LONGEST = 160

# Without flags it is refused, before it begins, whenever a write would be; it changes nothing.
_WRITE_PROBE = """#!lua
for i = 2, #ARGV do
  if not redis.acl_check_cmd(ARGV[i], ARGV[1]) then return ARGV[i] end
end
return false
"""
_WRITES = (
    *("set", "del", "pexpire", "zadd", "zrem", "zremrangebyscore", "hset", "hdel", "hincrby"),
    *("sadd", "srem", "lpush", "ltrim", "xadd"),
)
"""Commands with which the scripts write."""


def outage(error: BaseException | None) -> Outage | None:
    """Return the outage that `error` is, or None: waiting would not mend it, or it is no refusal.

    None also for a wrong login or a missing right; `diagnose` has the words for those.
    """
    found = diagnose(error)
    return found if found and found.kind.passes else None


def diagnose(error: BaseException | None) -> Outage | None:
    """Return what `error` says about Redis; None for errors that do not come from the server."""
    if isinstance(error, r.ResponseError | r.ConnectionError | r.TimeoutError):
        return _known(_kind(error), error)
    if isinstance(error, r.InvalidResponse):
        return _known(OutageKind.UNREACHABLE, error)
    return None


def refusal_of_writes(redis: Redis, key: str = "") -> Outage | None:
    """Ask whether Redis accepts changes: one round trip that changes nothing.

    With a key of ours also whether this user has every right to change it. Raises RedisError if
    Redis does not answer the question at all.
    """
    try:
        lacking = redis.register_script(_WRITE_PROBE)(args=[key, *(_WRITES if key else ())])
    except r.ResponseError as error:
        return diagnose(error)
    return _missing_right(lacking) if lacking else None


def _missing_right(command: str | bytes) -> Outage:
    name = command.decode() if isinstance(command, bytes) else command
    cause, remedy = _KNOWN[OutageKind.RIGHTS]
    return Outage(OutageKind.RIGHTS, f"{cause} (no right to {name.upper()} its keys)", remedy)


def _kind(error: r.RedisError) -> OutageKind:
    by_class = (kind for known, kind in _CLASSES if isinstance(error, known))
    text = _PIPELINED.sub("", str(error))
    by_words = (kind for words, kind in _WORDS if re.search(words, text[:_LONGEST]))
    answered = isinstance(error, r.ResponseError)
    otherwise = OutageKind.REFUSED if answered else OutageKind.UNREACHABLE
    return next(by_class, None) or next(by_words, otherwise)


def _known(kind: OutageKind, error: r.RedisError) -> Outage:
    cause, remedy = _KNOWN[kind]
    if kind is OutageKind.UNREACHABLE and "certificate verify failed" in str(error):
        cause, remedy = _CERTIFICATE
    if kind in _DETAILED and (detail := _detail(error)):
        cause = f"{cause} ({detail})"
    return Outage(kind, cause, remedy)


def _detail(error: r.RedisError) -> str:
    """Shorten the error to one line without the place: anybody may read it."""
    if isinstance(error, r.TimeoutError):
        return "no answer in time"
    if isinstance(error, MasterNotFoundError):
        return "no sentinel names its primary"
    lines = _PIPELINED.sub("", str(error).strip()).splitlines() or [type(error).__name__]
    return _UNSAID.sub("", lines[0]).rstrip(".: ")[:_LONGEST]
