"""How long keys that expire may live.

Redis keeps the end of a key as an instant of its clock. One that was set before the clock stepped
back outlives its time by the step, unless its end is brought nearer.
"""

from collections.abc import Mapping

from runtime.context import Context
from runtime.heartbeat import KEEP_MS
from worker.capabilities import REMEMBER_S, Capabilities
from worker.tasks import LONGEST_OUTAGE_MS, OUTAGE_MEMORY_MS

_DAY_MS = 24 * 3600 * 1000


def shorten(context: Context) -> None:
    """Bring nearer the end of each key that would live too long. Raises RedisError."""
    pipe = context.redis.pipeline(transaction=False)
    for key, longest_ms in lifetimes(context).items():
        pipe.pexpire(key, longest_ms, lt=True)
    pipe.execute()


def lifetimes(context: Context) -> Mapping[str, int]:
    """The keys of one provider that a step of the clock could keep alive to somebody's harm, and
    how long each lives at most."""
    keys = context.keys
    return {
        keys.outage: LONGEST_OUTAGE_MS,
        keys.outage_pause: LONGEST_OUTAGE_MS + OUTAGE_MEMORY_MS,
        keys.heartbeats: KEEP_MS,
        keys.secondary: _DAY_MS,
        keys.bars: _DAY_MS,
        keys.batches: _DAY_MS,
        keys.batch_records: _DAY_MS,
        Capabilities(context).key: REMEMBER_S * 1000,
    }
