"""The end of a call. It waits for Redis: a call that never ends looks like a dead worker's."""

import time

import structlog
from redis.exceptions import RedisError

from queueing import Hint, LeaseLost, PriorityQueue, Verdict
from runtime.redis_client import away
from runtime.stopping import StopFlag
from worker.call import Call, Outcome

log = structlog.get_logger(__name__)

KEEP_S = 20.0
"""How long an end waits for Redis: within what is left of the lease of an ordinary call, for one
that expires counts as a crash."""
_PAUSE_S = 1.0


def end_call(queue: PriorityQueue, call: Call, outcome: Outcome, stop: StopFlag) -> Hint:
    """Ends each item with its verdict, in one step; returns when to claim next.

    Tried again while Redis is away: a second end finds the items gone. A process that is to end
    tries once. Raises RedisError.
    """
    until_s = time.monotonic() + KEEP_S
    while True:
        try:
            return _try_to_end(queue, call, outcome)
        except RedisError as error:
            late = time.monotonic() + _PAUSE_S > until_s
            if not away(error) or late or stop.is_set():
                call.progress.unendable = True
                raise
            log.warning("redis.away", during="end", detail=str(error))
        stop.sleep(_PAUSE_S)


def _try_to_end(queue: PriorityQueue, call: Call, outcome: Outcome) -> Hint:
    try:
        hint = queue.end(
            call.claimed,
            _by_urgency(call, outcome),
            answered=outcome.answered,
            sent=outcome.sent,
            failed=outcome.failed,
            took_ms=call.progress.request_ms,
            drain=call.drain,
            max_wait_ms=call.max_wait_ms,
        )
    except LeaseLost as error:
        log.warning("lease.lost", symbols=error.symbols[:5])
        hint = queue.next_at()
    call.progress.ended = True
    return hint


def _by_urgency(call: Call, outcome: Outcome) -> list[Verdict]:
    """The first item names the call in the circuit breaker."""
    names = [item.symbol for item in call.claimed.items]
    return [outcome.verdicts[name] for name in names if name in outcome.verdicts]
