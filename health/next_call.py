"""What the next call waits for, and what merely explains why little happens."""

from collections.abc import Iterator

from health import holds
from health.causes import Cause
from health.facts import Facts, State
from health.rules import judge
from queueing import Priority


def next_call(facts: Facts, *, urgent: bool) -> Cause | None:
    """Return what holds the next critical call, or the next other one; None: it may be made now.

    What stops all calls comes first: the quota may allow a call while no worker is alive to make
    it.
    """
    stopped = stopping(facts)
    if stopped or facts.state is None:
        return stopped
    return next_permit(facts.state, urgent=urgent)


def stopping(facts: Facts) -> Cause | None:
    """Return what stops all calls, whatever the quota allows; None: nothing does."""
    return next((cause for cause in judge(facts) if cause.stops), None)


def next_permit(state: State, *, urgent: bool) -> Cause | None:
    """Return what keeps the quota from granting the next call; None: it is granted now."""
    quota = state.quota
    at_ms, reason = quota.urgent if urgent else quota.background
    if at_ms <= quota.now_ms:
        return None
    match reason:
        case "blocked":
            return holds.blocked(quota, state.blocked_since_ms)
        case "breaker":
            return holds.breaker(quota)
        case "hold":
            return holds.hold(quota)
        case "policy" if quota.mismatch:
            return holds.policy(quota.mismatch)
    return holds.wait(reason, at_ms)


def next_refresh(facts: Facts) -> Cause | None:
    """Return what the pending work waits for; None: it is done now, or nothing is pending."""
    if facts.state is None:
        return next_call(facts, urgent=False)
    stats = facts.state.stats
    if facts.state.newer:
        return stopping(facts) or holds.wait("version", None)
    if any(stats.queued.values()):
        return next_call(facts, urgent=stats.queued[Priority.CRITICAL] > 0)
    if not stats.pending:
        return None
    stopped = stopping(facts)
    if stopped or not stats.hint.wait_ms:
        return stopped
    return holds.wait(stats.hint.reason or "delayed", stats.hint.next_at_ms)


def notes(state: State) -> Iterator[Cause]:
    """Yield what explains a quiet system and is no trouble."""
    for market, until_ms in state.unpublished.items():
        yield holds.unpublished(market, until_ms)
    for market in state.closed_markets:
        yield holds.closed_market(market)
