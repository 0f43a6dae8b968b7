"""The end of a call. It waits for Redis: a call that never ends looks like a dead worker's."""

import time

import structlog
from redis.exceptions import RedisError

from queueing import Claimed, Ending, Hint, LeaseLost, PriorityQueue, Verdict
from runtime.redis_client import away
from runtime.stopping import StopFlag
from worker.call import Asked, Call, Outcome

log = structlog.get_logger(__name__)

KEEP_S = 20.0
"""How long an end waits for Redis: within what is left of the lease of an ordinary call, for one
that expires counts as a crash."""
_PAUSE_S = 1.0


def end_call(
    queue: PriorityQueue, call: Call, outcome: Outcome, stop: StopFlag, *, claims: bool = False
) -> Hint:
    """Ends each item with its verdict, in one step; returns when to claim next.

    `claims`: what is due then is claimed in the same step, if the drain goes on; it is the
    `next_call` of the call's progress. Tried again while Redis is away: a second end finds the
    items gone, and claims nothing. A process that is to end tries once. Raises RedisError.
    """
    until_s = time.monotonic() + KEEP_S
    while True:
        try:
            return _try_to_end(queue, call, outcome, call.then() if claims else None)
        except RedisError as error:
            claims = False
            late = time.monotonic() + _PAUSE_S > until_s
            if not away(error) or late or stop.is_set():
                call.progress.unendable = True
                raise
            log.warning("redis.away", during="end", detail=str(error))
        stop.sleep(_PAUSE_S)


def _try_to_end(queue: PriorityQueue, call: Call, outcome: Outcome, asked: Asked | None) -> Hint:
    verdicts, progress = _by_urgency(call, outcome), call.progress
    how: Ending = {
        "answered": outcome.answered,
        "sent": outcome.sent,
        "failed": outcome.failed,
        "took_ms": progress.request_ms,
        "drain": call.drain,
        "max_wait_ms": asked.max_wait_ms if asked else call.max_wait_ms,
    }
    try:
        if asked is None:
            hint = queue.end(call.claimed, verdicts, **how)
        else:
            answer = queue.end_and_claim(
                call.claimed, verdicts, who=call.drain, max_items=asked.max_items, **how
            )
            hint = answer.hint
            progress.next_call = call.next(answer, asked) if isinstance(answer, Claimed) else None
    except LeaseLost as error:
        log.warning("lease.lost", symbols=error.symbols[:5])
        hint = queue.next_at()
    progress.ended = True
    return hint


def _by_urgency(call: Call, outcome: Outcome) -> list[Verdict]:
    """The first item names the call in the circuit breaker."""
    names = [item.symbol for item in call.claimed.items]
    return [outcome.verdicts[name] for name in names if name in outcome.verdicts]
