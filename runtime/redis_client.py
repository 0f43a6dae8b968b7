"""Connections to Redis by URL, also through Sentinel."""

from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool

from runtime.redis_outage import outage
from settings.redis_url import SentinelUrl

SENTINEL_TIMEOUT_S = 2.0


def away(error: BaseException | None) -> bool:
    """True if `error` is an outage of Redis, which passes: see `runtime.redis_outage`."""
    return outage(error) is not None


def open_redis(url: str, **options: Any) -> Redis:
    """Make a client of the server at `url`, or of the primary that the sentinels of `url` name.

    Nothing is retried inside: the caller decides what a failure means. Bytes that an external
    writer left and that are no text do not fail the reading of what stands beside them.
    """
    options = {"encoding_errors": "replace", **options}
    place = SentinelUrl.parse(url)
    if url.startswith("unix://"):  # a socket of this machine has no use for it
        options.pop("socket_keepalive", None)
    if place is None:
        return Redis.from_url(url, **options)
    options = {"retry": Retry(NoBackoff(), 0), **options}
    sentinel = Sentinel(place.hosts, sentinel_kwargs=sentinel_options(place))
    client: Redis = sentinel.master_for(
        place.service,
        db=place.db,
        username=place.user,
        password=place.password,
        **place.tls,
        **options,
    )
    return client


def sentinel_options(place: SentinelUrl) -> dict[str, Any]:
    """Options with which a sentinel is asked: briefly and once, because there are others."""
    return {
        "socket_timeout": SENTINEL_TIMEOUT_S,
        "socket_connect_timeout": SENTINEL_TIMEOUT_S,
        "retry": Retry(NoBackoff(), 0),
        **place.sentinel_login,
        **place.tls,
    }


def twin_for_rq(redis: Redis) -> Redis:
    """Make a client of the same server that returns bytes, as RQ needs them."""
    pool = redis.connection_pool
    options = {**pool.connection_kwargs, "decode_responses": False}
    if isinstance(pool, SentinelConnectionPool):
        twin = SentinelConnectionPool(
            pool.service_name,
            pool.sentinel_manager,
            connection_class=pool.connection_class,
            **options,
        )
        return Redis(connection_pool=twin)
    return Redis(connection_pool=type(pool)(connection_class=pool.connection_class, **options))
