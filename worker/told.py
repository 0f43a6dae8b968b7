"""What the log says of items that failed: which, why, which attempt, and what comes next."""

import structlog

from queueing import Bury, Death, Retry
from worker.call import Call, Outcome
from worker.retry_policy import RetryRules

log = structlog.get_logger(__name__)

_MOST = 10
_RESTS = {
    Death.TRANSIENT: "given up; the next round asks again",
    Death.INVALID: "given up for a day; `assetq dead retry` asks again",
}


def tell_failures(call: Call, outcome: Outcome, rules: RetryRules) -> None:
    """One warning per item that failed, ten at most, and one with the number of the others."""
    failed = [
        (item, verdict)
        for item in call.claimed.items
        if isinstance(verdict := outcome.verdicts.get(item.symbol), Retry | Bury)
    ]
    for item, verdict in failed[:_MOST]:
        log.warning(
            "refresh.failed",
            symbol=item.symbol,
            reason=verdict.error,
            call_id=call.claimed.token,
            attempt=f"{item.attempts + 1} of {rules.max_attempts + 1}",
            next=_next(verdict),
        )
    if len(failed) > _MOST:
        log.warning("refresh.failed", others=len(failed) - _MOST, call_id=call.claimed.token)


def _next(verdict: Retry | Bury) -> str:
    if isinstance(verdict, Retry):
        return f"again in {verdict.delay_ms / 1000:g} s"
    return _RESTS.get(verdict.kind, "given up")
