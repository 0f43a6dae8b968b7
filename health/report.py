"""The answer of /health/batch: what the user's document asks for, and why it says so."""

from collections.abc import Sequence
from typing import Any

from health.batches import last_update_ms
from health.observe import Observer
from health.rules import Cause, Facts, Level, State, judge, worst
from health.texts import at, at_or_none
from queueing import Priority, QuotaStatus, Stats
from runtime.heartbeat import Process
from scheduler.entries import entries
from settings import Settings


def report(observer: Observer) -> tuple[Level, Facts, dict[str, Any]]:
    """Looks and judges: the status, what was seen, and the answer as JSON.

    While Redis is away every field is there and what it would have told is null.
    """
    facts = observer.look()
    causes = judge(facts)
    seen_since = observer.seen_since(causes, facts.now_ms)
    level = worst(causes)
    body = {
        "status": level.status,
        "reasons": [cause.sentence(seen_since[cause.key]) for cause in causes],
        "checked_at": at(facts.now_ms),
        **(_known(facts.state) if facts.state else _unknown(observer.settings)),
        "servers": {"redis": facts.redis is None, "postgresql": facts.database is None},
    }
    return level, facts, body


def failed(error: BaseException, settings: Settings) -> dict[str, Any]:
    """The answer when the look itself failed: a defect, or entries that another hand changed."""
    cause = Cause("look", Level.UNHEALTHY, f"The state cannot be read ({type(error).__name__})")
    return {"status": cause.level.status, "reasons": [f"{cause.text}."], **_unknown(settings)}


def _known(state: State) -> dict[str, Any]:
    return {
        "jobs": list(state.jobs),
        "queue": _queue(state.stats),
        "last_priority_update": at_or_none(last_update_ms(state.batches)),
        "api_calls_remaining": state.quota.free,
        "metrics": {metric.name: metric.as_dict() for metric in state.metrics},
        "quota": _quota(state.quota),
        "workers": _processes(state.processes, "worker"),
        "schedulers": _processes(state.processes, "scheduler"),
    }


def _unknown(settings: Settings) -> dict[str, Any]:
    jobs = [
        {"id": entry.id, "name": entry.name, "next_run": None, "trigger": entry.trigger}
        for entry in entries(settings)
    ]
    queue = {"total_items": None, "by_priority": None, "oldest_item_age_seconds": None}
    return {
        "jobs": jobs,
        "queue": queue,
        "last_priority_update": None,
        "api_calls_remaining": None,
        "metrics": None,
        "quota": None,
        "workers": None,
        "schedulers": None,
    }


def _queue(stats: Stats) -> dict[str, Any]:
    """`by_priority` are those that may run now; with delayed and leased they are the total."""
    return {
        "total_items": stats.pending,
        "by_priority": {priority.name: stats.queued[priority] for priority in Priority},
        "oldest_item_age_seconds": round(stats.oldest_item_age_seconds, 1),
        "delayed": stats.delayed,
        "leased": stats.leased,
        "dead": stats.dead,
    }


def _quota(quota: QuotaStatus) -> dict[str, Any]:
    """`limit` and `free` are null where the plan has no limit."""
    blocked = quota.blocked_until_ms > quota.now_ms
    held = quota.limit is not None and quota.hold_until_ms > quota.now_ms
    return {
        "limit": quota.limit,
        "free": quota.free,
        "blocked_until": at(quota.blocked_until_ms) if blocked else None,
        "blocked_reason": quota.blocked_reason if blocked else None,
        "provider_fails_since": at_or_none(quota.breaker.since_ms),
        "provider_failure": quota.breaker.reason if quota.breaker.open else None,
        "next_probe": at_or_none(quota.breaker.probe_at_ms),
        "held_until": at(quota.hold_until_ms) if held else None,
        "next_call": {"urgent": _turn(*quota.urgent), "background": _turn(*quota.background)},
        "next_batch": at_or_none(quota.batch_at_ms),
        "calls_kept_for_it": quota.batch_calls,
    }


def _turn(at_ms: int, why: str) -> dict[str, str]:
    """When such a call may go, and what holds it until then."""
    return {"at": at(at_ms), "why": why}


def _processes(found: Sequence[Process], role: str) -> list[dict[str, Any]]:
    """Those seen within the last hour, the freshest first."""
    return [
        {"name": process.name, "seen_seconds_ago": round(process.age_ms / 1000, 1)}
        for process in found
        if process.role == role
    ]
