"""What holds calls and refreshes back, in words, and what explains a quiet system.

The other causes are in `health.causes`. The functions are pure.
"""

from health.causes import Cause, Level
from health.texts import span
from queueing import PolicyMismatch, QuotaStatus

WAITS = {
    "window": "the calls of this window are used up",
    "reserved": "calls are kept free for the next batch",
    "spacing": "the least time between two calls has not passed",
    "blocked": "calls are blocked",
    "breaker": "the provider fails; the next call is a probe",
    "policy": "the quota is kept for other limits than this process is set to",
    "hold": "the calls of the last window are unknown, so that none is granted",
    "delayed": "it waits for its retry or a pause of its own",
    "leased": "it is being refreshed now",
    "version": "what waits needs workers of a newer version",
}
"""Reason of the quota or the queue → its words."""


def blocked(quota: QuotaStatus, since_ms: int | None) -> Cause:
    """Calls are blocked: by the provider's answer, or by hand."""
    reason = quota.blocked_reason or "no reason given"
    refused = reason.startswith("401")
    text = "The provider refuses the API key" if refused else _begun(WAITS["blocked"])
    remedy = "Wait, or lift it with `assetq limiter block 0`."
    if refused:
        remedy = "Correct MASSIVE_API_KEY; a new key lifts the block."
    elif reason.startswith("429"):
        remedy = (
            "Wait. If it comes again, something else uses this API key, or POLYGON_RATE_LIMIT and "
            "RATE_WINDOW_SECONDS allow more than the plan."
        )
    level = Level.UNHEALTHY if refused else Level.DEGRADED
    text = f"{text} ({reason})"
    return Cause("blocked", level, text, since_ms, quota.blocked_until_ms, remedy)


def breaker(quota: QuotaStatus) -> Cause:
    """The circuit breaker is open."""
    reason = quota.breaker.reason or "no reason given"
    text = f"{_begun(WAITS['breaker'])} ({reason})"
    remedy = "Wait; `assetq limiter reset` closes the circuit breaker."
    since_ms, probe_ms = quota.breaker.since_ms, quota.breaker.probe_at_ms
    return Cause("breaker", Level.DEGRADED, text, since_ms, probe_ms, remedy)


def hold(quota: QuotaStatus) -> Cause:
    """Redis may have lost calls of the last window."""
    text = f"{_begun(WAITS['hold'])}: Redis is new, was restarted or emptied"
    remedy = "Wait; `assetq limiter reset` if nothing called the provider meanwhile."
    until_ms = quota.hold_until_ms
    return Cause("hold", Level.DEGRADED, text, None, until_ms, remedy)


def policy(mismatch: PolicyMismatch) -> Cause:
    """The quota is kept by other rules than those of this process."""
    kept, own = mismatch.kept.counted, mismatch.own.counted
    text = f"{_begun(WAITS['policy'])}: it is kept for {kept}, and set here are {own}"
    remedy = (
        "Set POLYGON_TIER, POLYGON_RATE_LIMIT and RATE_WINDOW_SECONDS alike in all processes and "
        "restart them; `assetq limiter reset` takes over at once what is set here."
    )
    return Cause("policy", Level.DEGRADED, text, until_ms=mismatch.until_ms, remedy=remedy)


LARGE_BATCH = "Raise BATCH_INTERVAL_MINUTES, make fewer assets CRITICAL, or take a larger plan."


def batch_share(calls: int, possible: float, interval_ms: float) -> str:
    """What a batch takes of the calls of its interval."""
    allowed = f"{round(possible, 1):g} calls that the quota allows in {span(interval_ms / 1000)}"
    return f"A batch takes {calls} of {allowed}"


def batch_too_large(calls: int, possible: float, interval_ms: float) -> Cause:
    """The calls of a batch cannot be made before the next one."""
    text = f"{batch_share(calls, possible, interval_ms)}: it cannot finish before the next one"
    return Cause("capacity", Level.DEGRADED, text, remedy=LARGE_BATCH)


def nothing_left(calls: int, possible: float, interval_ms: float) -> Cause:
    """A batch takes all calls, so that the other assets live on the share that is kept for them."""
    text = f"{batch_share(calls, possible, interval_ms)}: other assets get one call in 20"
    return Cause("share", Level.DEGRADED, text, remedy=LARGE_BATCH)


def wait(reason: str, until_ms: int | None) -> Cause:
    """An ordinary wait, which ends by itself."""
    text = WAITS.get(reason, f"it waits for {reason}")
    return Cause(reason, Level.HEALTHY, _begun(text), until_ms=until_ms)


def unpublished(market: str, until_ms: int) -> Cause:
    """The provider has not published a market's newest day."""
    text = f"The newest day of {market} is not published yet; the day before serves"
    return Cause(f"unpublished.{market}", Level.HEALTHY, text, until_ms=until_ms)


def closed_market(market: str) -> Cause:
    """A market does not trade, so that its prices do not change."""
    text = f"The {market} market is closed: its prices do not change"
    return Cause(f"closed.{market}", Level.HEALTHY, text)


def _begun(clause: str) -> str:
    return clause[0].upper() + clause[1:]
