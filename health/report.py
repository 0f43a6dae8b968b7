"""The answer of `/health/batch`: the status, what it was judged from, and every reason."""

from collections.abc import Sequence
from typing import Any

from health.batches import last_update_ms
from health.causes import Cause, Level
from health.facts import Facts, State
from health.next_call import next_call, next_refresh, notes
from health.observe import Observer
from health.rules import judge, worst
from health.texts import at, at_or_none
from queueing import Priority, QuotaStatus, Stats
from runtime.heartbeat import Process
from scheduler.entries import entries
from settings import Settings

SHOWN_ASSETS = 20
"""How many failing assets and dead letters are listed; their numbers are told in full."""


def report(observer: Observer) -> tuple[Level, Facts, dict[str, Any]]:
    """Look and judge: the status, what was seen, and the answer as JSON.

    While Redis is away every field is there, and null where only Redis knows it.
    """
    facts = observer.look()
    found = judge(facts)
    since = observer.since(found, facts)
    level = worst(found)
    body = {
        "status": level.status,
        "reasons": [cause.sentence(since[cause.key]) for cause in found],
        "causes": [_cause(cause, since[cause.key]) for cause in found],
        "checked_at": at(facts.now_ms),
        **(_known(facts, facts.state) if facts.state else _unknown(observer.settings)),
        "next_refresh": _next_refresh(facts),
        "servers": servers(facts),
    }
    return level, facts, body


def servers(facts: Facts) -> dict[str, bool]:
    """Tell which server can be used for everything that assetq does with it."""
    refused = facts.redis or (facts.state and facts.state.writes)
    unusable = facts.database and facts.database.stops
    return {"redis": not refused, "postgresql": not unusable}


def failed(error: BaseException, settings: Settings) -> dict[str, Any]:
    """Answer when the look itself failed: a defect, or data that an external writer damaged."""
    cause = Cause("look", Level.UNHEALTHY, f"The state cannot be read ({type(error).__name__})")
    return {"status": cause.level.status, "reasons": [f"{cause.text}."], **_unknown(settings)}


def _cause(cause: Cause, since_ms: int) -> dict[str, Any]:
    return {
        "cause": cause.key,
        "level": cause.level.status,
        "text": cause.text,
        "since": at(since_ms),
        "until": at_or_none(cause.until_ms),
        "remedy": cause.remedy,
    }


def _known(facts: Facts, state: State) -> dict[str, Any]:
    updated_ms = last_update_ms(state.batches, facts.now_ms)
    return {
        "jobs": list(state.jobs),
        "queue": _queue(state.stats) | {"max_size": state.places},
        "last_priority_update": at_or_none(updated_ms),
        "api_calls_remaining": remaining(state.quota),
        "metrics": {metric.name: metric.as_dict() for metric in state.metrics},
        "quota": _quota(facts, state.quota),
        "assets": _assets(state),
        "notes": [cause.text for cause in notes(state)],
        "workers": _processes(state.processes, "worker"),
        "schedulers": _processes(state.processes, "scheduler"),
    }


def _unknown(settings: Settings) -> dict[str, Any]:
    jobs = [
        {"id": entry.id, "name": entry.name, "next_run": None, "trigger": entry.trigger}
        for entry in entries(settings)
    ]
    queue = {
        "total_items": None,
        "by_priority": None,
        "oldest_item_age_seconds": None,
        "max_size": None,
    }
    return {
        "jobs": jobs,
        "queue": queue,
        "next_refresh": None,
        "last_priority_update": None,
        "api_calls_remaining": None,
        "metrics": None,
        "quota": None,
        "assets": None,
        "notes": None,
        "workers": None,
        "schedulers": None,
    }


def _queue(stats: Stats) -> dict[str, Any]:
    """`by_priority` counts items that may be claimed now: delayed and leased ones come on top."""
    return {
        "total_items": stats.pending,
        "by_priority": {priority.name: stats.queued[priority] for priority in Priority},
        "oldest_item_age_seconds": round(stats.oldest_item_age_seconds, 1),
        "delayed": stats.delayed,
        "leased": stats.leased,
        "dead": stats.dead,
    }


def remaining(quota: QuotaStatus) -> int | None:
    """Calls that could be made at once: none while all are held; null: the plan has no limit."""
    at_ms, reason = quota.urgent
    held = at_ms > quota.now_ms and reason in ("blocked", "hold", "breaker", "policy", "spacing")
    return 0 if held and quota.limit is not None else quota.free


def _quota(facts: Facts, quota: QuotaStatus) -> dict[str, Any]:
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
        "next_call": {
            "urgent": _next(facts, quota.urgent, urgent=True),
            "background": _next(facts, quota.background, urgent=False),
        },
        "next_batch": at_or_none(quota.batch_at_ms),
        "calls_kept_for_it": quota.batch_calls,
    }


def _next(facts: Facts, allowed: tuple[int, str], *, urgent: bool) -> dict[str, str | None]:
    """When the quota allows such a call, and what such a call waits for."""
    at_ms, reason = allowed
    held = next_call(facts, urgent=urgent)
    return {
        "at": at(at_ms),
        "why": held.key if held else reason,
        "text": held.text if held else None,
    }


def _next_refresh(facts: Facts) -> dict[str, str | None]:
    """What the pending work waits for; all null where nothing holds it."""
    held = next_refresh(facts)
    return {
        "at": at_or_none(held.until_ms) if held else None,
        "why": held.key if held else None,
        "text": held.text if held else None,
    }


def _assets(state: State) -> dict[str, Any]:
    """Assets that fail now, and those that were given up."""
    return {
        "failing": len(state.failing),
        "dead": state.stats.dead,
        "failing_assets": [
            {"symbol": item.symbol, "attempts": item.attempts, "error": item.error[:200]}
            for item in state.failing[:SHOWN_ASSETS]
        ],
        "dead_assets": [
            {"symbol": letter.symbol, "kind": letter.kind, "reason": letter.reason[:200]}
            for letter in list(state.dead)[-SHOWN_ASSETS:]
        ],
    }


def _processes(found: Sequence[Process], role: str) -> list[dict[str, Any]]:
    """List those with a heartbeat within the last hour, the latest first."""
    return [
        {"name": process.name, "seen_seconds_ago": round(process.age_ms / 1000, 1)}
        for process in found
        if process.role == role
    ]
