"""Connections to Redis by URL, also through Sentinel, and what it means that Redis is away."""

from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    ConnectionError,
    MasterDownError,
    ReadOnlyError,
    ResponseError,
    TimeoutError,
)
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from settings.urls import SentinelUrl

SENTINEL_TIMEOUT_S = 2.0
_MISCONFIGURED = (AuthenticationError, AuthorizationError)
_AWAY = (ConnectionError, TimeoutError, ReadOnlyError, MasterDownError)


def away(error: BaseException | None) -> bool:
    """True if Redis cannot be used for the moment: stopped, frozen, loading, or failing over.

    False for what no waiting mends: a wrong password, a command that is refused.
    """
    if isinstance(error, ResponseError) and str(error).startswith("UNBLOCKED"):
        return True  # a blocking pop on a server that has just become a replica
    return isinstance(error, _AWAY) and not isinstance(error, _MISCONFIGURED)


def open_redis(url: str, **options: Any) -> Redis:
    """A client of the server at `url`, or of the master that the sentinels of `url` name.

    Nothing is retried inside: who calls decides what a failure means.
    """
    place = SentinelUrl.parse(url)
    if place is None:
        return Redis.from_url(url, **options)
    options = {"retry": Retry(NoBackoff(), 0), **options}
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        place.hosts, sentinel_kwargs=sentinel_options()
    )
    client: Redis = sentinel.master_for(  # type: ignore[no-untyped-call]
        place.service, db=place.db, username=place.user, password=place.password, **options
    )
    return client


def sentinel_options() -> dict[str, Any]:
    """How a sentinel is asked: briefly and once, as there are others."""
    return {
        "socket_timeout": SENTINEL_TIMEOUT_S,
        "socket_connect_timeout": SENTINEL_TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
    }


def twin_for_rq(redis: Redis) -> Redis:
    """A client of the same server that returns bytes, as RQ wants them."""
    pool = redis.connection_pool
    options = {**pool.connection_kwargs, "decode_responses": False}
    if isinstance(pool, SentinelConnectionPool):
        twin = SentinelConnectionPool(  # type: ignore[no-untyped-call]
            pool.service_name, pool.sentinel_manager, **options
        )
        return Redis(connection_pool=twin)
    return Redis(connection_pool=type(pool)(connection_class=pool.connection_class, **options))
