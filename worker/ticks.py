"""RQ jobs are ticks: they say "look now" and carry nothing worth keeping.

Losing or doubling one changes nothing, because the next one finds the same queue. Ids are unique
(RQ makes a mess of an id that is pushed while it runs); whether one still waits is asked of the
list itself.
"""

import secrets
from typing import Any

import structlog
from redis import Redis
from redis.exceptions import RedisError
from rq import Queue
from rq.serializers import JSONSerializer

from queueing import Keys, wake_drain
from runtime.context import Context
from runtime.redis_client import away, twin_for_rq
from worker.resilience import hurry
from worker.rq_classes import TickJob

log = structlog.get_logger(__name__)

JOB_TIMEOUT_S = 120  # RQ's signal strikes at any line, so it must be well beyond a drain's slice
RESULT_TTL_S = 600
DRAIN, BATCH, SECONDARY, BARS = "drain", "batch", "secondary", "bars"
_LOOK_AT = 64


def rq_queue(keys: Keys) -> str:
    """RQ's queue of one provider: workers of another one must not take its ticks."""
    return f"assetq-{keys.provider}"


class Ticks:
    """Pushes ticks into the RQ list and looks at what waits there."""

    def __init__(self, redis: Redis, keys: Keys) -> None:
        # RQ wants bytes and keeps the connection; the texts of our own client would confuse it.
        self._redis = twin_for_rq(redis)
        self._keys = keys
        self.queue = Queue(
            rq_queue(keys),
            connection=self._redis,
            serializer=JSONSerializer,
            job_class=TickJob,
        )

    def close(self) -> None:
        """Closes the connections to Redis."""
        self._redis.connection_pool.disconnect()

    def hurry(self) -> None:
        """The process ends: see worker.resilience."""
        hurry(self._redis)

    def waiting(self, kind: str) -> bool:
        """Does a tick of this kind wait for a worker?"""
        return any(job_id.startswith(f"{kind}-") for job_id in self._listed())

    def others_waiting(self) -> bool:
        """Does any tick wait that is not a drain? Then a waiting drain makes room."""
        return any(not job_id.startswith(f"{DRAIN}-") for job_id in self._listed())

    def push(self, kind: str, *args: Any, urgent: bool = False) -> str:
        """Pushes one tick and makes the waiting drain look up; returns the id."""
        job_id = f"{kind}-{secrets.token_hex(5)}"
        self.queue.enqueue_call(
            f"worker.tasks.{kind}",
            args=args,
            job_id=job_id,
            timeout=JOB_TIMEOUT_S,
            result_ttl=RESULT_TTL_S,
            failure_ttl=TickJob.FAILURE_TTL_S,
            description=f"{kind} {' '.join(map(str, args))}".strip(),
            at_front=urgent,
        )
        if kind != DRAIN:
            wake_drain(self._redis, self._keys)
        return job_id

    def ensure_drain(self) -> bool:
        """Pushes a drain tick unless one waits already; True if it pushed."""
        if self.waiting(DRAIN):
            return False
        self.push(DRAIN)
        return True

    def ask_for_help(self) -> None:
        """Starts another drain; where Redis refuses, a call that was granted goes on without."""
        try:
            self.ensure_drain()
        except RedisError as error:
            if not away(error):
                raise
            log.warning("redis.away", during="help", detail=str(error))

    def _listed(self) -> list[str]:
        raw: list[Any] = list(self._redis.lrange(self.queue.key, 0, _LOOK_AT - 1))
        return [job_id.decode() for job_id in raw]


def start_drain(context: Context) -> None:
    """Push a drain tick for new work, unless a drain waits for it already."""
    if context.queue.next_at().waiting:
        return
    ticks = Ticks(context.redis, context.keys)
    try:
        ticks.ensure_drain()
    finally:
        ticks.close()
