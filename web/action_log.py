"""What was changed by hand on the pages: when, by whom, from where. In the log, and in Redis."""

import json
from dataclasses import asdict, dataclass
from ipaddress import ip_address

import structlog
from flask import Request
from redis import RedisError

from queueing.foreign import figure, json_object
from runtime.context import Context

log = structlog.get_logger(__name__)

KEPT = 200
KEPT_MS = 90 * 24 * 3600 * 1000


@dataclass(frozen=True)
class ActionEntry:
    """One change by hand; `at_ms` on Redis' clock."""

    at_ms: int
    user: str
    address: str
    action: str
    told: str
    done: bool = True


def address_of(request: Request) -> str:
    """Where a request came from; behind a proxy also what the proxy says of it."""
    near = request.remote_addr or "unknown"
    said = request.headers.get("X-Forwarded-For", "").rpartition(",")[2].strip()
    try:
        return f"{ip_address(said)} by way of {near}"
    except ValueError:
        return near


def record(context: Context, user: str, address: str, action: str, told: str, done: bool) -> None:
    """Note a change, or that it was refused. Losing Redis loses the entry there, not the line."""
    log.warning("web.action", action=action, user=user, address=address, done=done, told=told)
    key, redis = context.keys.actions, context.redis
    try:
        entry = ActionEntry(context.redis_now_ms(), user, address, action, told, done)
        with redis.pipeline(transaction=True) as pipe:
            pipe.lpush(key, json.dumps(asdict(entry)))
            pipe.ltrim(key, 0, KEPT - 1)
            pipe.pexpire(key, KEPT_MS)
            pipe.execute()
    except RedisError as error:
        log.warning("web.action_log", error=type(error).__name__)


def recent(context: Context, count: int = 20) -> list[ActionEntry]:
    """Return the newest entries, newest first; none while Redis cannot be read."""
    try:
        texts = context.redis.lrange(context.keys.actions, 0, count - 1)
    except RedisError:
        return []
    return [entry for text in texts if (entry := _entry(str(text)))]


def _entry(text: str) -> ActionEntry | None:
    try:
        entry = ActionEntry(**json_object(text))
    except TypeError:
        return None
    return entry if figure(entry.at_ms) == entry.at_ms else None
