"""The proof that no call counts any more although Redis forgot all of them: PostgreSQL's word."""

from datetime import timedelta

from db.connection import Connection
from db.providers import ProviderRepository
from queueing import QuotaLimiter
from worker.ticks import JOB_TIMEOUT_S


def prove_idle(connection: Connection, limiter: QuotaLimiter) -> str | None:
    """A mark in Redis, if PostgreSQL then proves that nobody called for long; else None.

    Asked just before the first claim: the answer also says that the caller may call from now.
    Raises DatabaseError, RedisError.
    """
    providers = ProviderRepository(connection)
    longest_s = JOB_TIMEOUT_S + limiter.policy.horizon_ms / 1000

    def long(ago: timedelta | None) -> bool:
        return ago is None or ago.total_seconds() > longest_s

    mark = limiter.mark() if long(providers.last_active_ago()) else None
    # What counts is learned after the mark.
    return mark if long(providers.swap_last_active()) else None
