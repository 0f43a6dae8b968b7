"""Every cause of trouble that health knows, in its words; and what is as it should be."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from cli.commands.doctor.finding import FAIL, WARN, Finding, ok, warn
from cli.session import redis_at
from cli.show.causes import told
from cli.show.waiting import pending_of
from health.causes import Cause, Level
from health.facts import Facts, State
from health.next_call import next_permit, next_refresh, notes
from health.rules import judge
from health.texts import names
from queueing import Death
from runtime.context import Context, fingerprint
from runtime.heartbeat import DUE_MS

_CHECKS = {
    "postgresql.read-only": "writes",
    "postgresql.rights": "writes",
    "postgresql.some-rights": "writes",
    "worker": "workers",
    "suspended": "workers",
    "outage": "workers",
    "blocked": "quota",
    "breaker": "quota",
    "hold": "quota",
    "policy": "quota",
    "share": "capacity",
    "batch": "batches",
    "last-batch": "batches",
    "secondary": "rounds",
    "poison": "assets",
    "failing": "assets",
}
"""Key of a cause → the check under which doctor tells it, if it has another name."""
_ALWAYS_FAILS = ("worker", "scheduler", "capacity")
"""Health forgives a system that has just been started, and one that is slow; a doctor is asked for
what is now."""
_OVERDUE_S = 60
_RETRIED = 5
_OF_THE_QUEUE = ("delayed", "leased", "version")
"""Waits that are no matter of the quota, and no trouble."""


def findings(context: Context, facts: Facts) -> Iterator[Finding]:
    """What health says of Redis, processes, rounds, assets and calls; PostgreSQL is told later."""
    found = [cause for cause in judge(facts) if not _told_elsewhere(cause)]
    for cause in found:
        yield finding(cause, facts, context)
    if facts.state:
        checks = {check_of(cause) for cause in found}
        yield from _well(facts, facts.state, checks)
        yield from _dead(facts.state, context)


def _told_elsewhere(cause: Cause) -> bool:
    """PostgreSQL has a check of its own, and failed ticks have one that tells their errors."""
    return cause.key == "ticks" or cause.key.startswith("postgresql.")


def check_of(cause: Cause) -> str:
    """The name of the check that a cause belongs to."""
    if cause.key.startswith(("batch.", "queue.", "api.")):
        return "metrics"
    return _CHECKS.get(cause.key, cause.key.partition(".")[0])


def finding(cause: Cause, facts: Facts, context: Context) -> Finding:
    """One cause as a line of the report."""
    fails = cause.level is Level.UNHEALTHY or cause.key in _ALWAYS_FAILS
    if cause.key == "blocked" and _of_another_key(facts, context):
        return warn(
            "quota",
            f"{told(cause, facts)}; that was another API key than the one set here",
            "Restart the workers with this key: the first one lifts the block.",
        )
    check, text, remedy = check_of(cause), told(cause, facts), cause.remedy
    if check == "redis":
        text += f", at {redis_at()}"
        if remedy and "assetq doctor" in remedy:
            remedy = "The lines about Redis and its keys name the cause."
    return Finding(check, FAIL if fails else WARN, text, remedy)


def _of_another_key(facts: Facts, context: Context) -> bool:
    """True if the provider refused a key, and another one is set here."""
    reason = (facts.state and facts.state.quota.blocked_reason) or ""
    return reason.startswith("401") and fingerprint(context.settings.api_key) not in reason


def _well(facts: Facts, state: State, checks: set[str]) -> Iterator[Finding]:
    """What is as it should be, by check."""
    for role, check in (("worker", "workers"), ("scheduler", "scheduler")):
        if check not in checks:
            yield from _processes(role, check, state)
    if "schedule" not in checks and "scheduler" not in checks and "workers" not in checks:
        yield from _entries(state)
    if "quota" not in checks:
        now = state.quota
        free = "no limit" if now.limit is None else f"{now.free} of {now.limit} calls are free"
        waits = {next_permit(state, urgent=urgent) for urgent in (True, False)} - {None}
        yield ok("quota", ". ".join([free, *(told(cause, facts) for cause in waits if cause)]))
    held = next_refresh(facts)
    why = f". {told(held, facts)}" if held and held.key in _OF_THE_QUEUE else ""
    yield ok("queue", f"{state.stats.pending} pending, of {state.places} places{why}")
    for note in notes(state):
        yield ok("markets", told(note, facts))
    if "assets" not in checks and not state.dead:
        yield _retried(state)


def _processes(role: str, check: str, state: State) -> Iterator[Finding]:
    """Who is alive, and who has missed a heartbeat: health waits for several."""
    found = [p for p in state.processes if p.role == role and p.alive]
    alive, silent = (
        [f"{p.name} ({p.age_ms / 1000:.0f} s ago)" for p in found if p.silent is missed]
        for missed in (False, True)
    )
    if silent:
        due = f"{DUE_MS[role] // 1000} s"
        text = f"no heartbeat within {due} of {names(silent)}: dead, or hanging"
        remedy = f"Look at its log. Unless something starts it again: assetq {role}"
        yield Finding(check, WARN if alive else FAIL, text, remedy)
    if alive:
        yield ok(check, f"{len(alive)} alive: {names(alive)}")


def _retried(state: State) -> Finding:
    """What failed once and waits for its retry is no trouble yet."""
    once = [f"{item.symbol} ({item.error[:100]})" for item in state.failing]
    return ok(
        "assets", f"{len(once)} failed, to be tried again: {names(once)}" if once else "none fails"
    )


def _entries(state: State) -> Iterator[Finding]:
    """Each entry of the schedule, and whether its next run has passed."""
    now = datetime.fromtimestamp(state.quota.now_ms / 1000, UTC)
    for row in state.jobs:
        if row["next_run"] is None:
            continue
        at = datetime.fromisoformat(row["next_run"])
        if (now - at).total_seconds() > _OVERDUE_S:
            text = f"{row['id']} was due at {at:%H:%M:%S} UTC"
            yield warn("schedule", text, "The scheduler is stuck: look at its log, restart it.")
        else:
            yield ok("schedule", f"{row['id']} ({row['trigger']}) next at {at:%H:%M:%S} UTC")


def _dead(state: State, context: Context) -> Iterator[Finding]:
    """Dead letters that health does not count: assets that the provider does not know, and rows
    that refuse what it says. One that was asked for again is tried before it is judged anew."""
    invalid = [letter for letter in state.dead if letter.kind is Death.INVALID]
    asked = pending_of(context, [letter.symbol for letter in invalid])
    left = [letter for letter in invalid if letter.symbol not in asked]
    if left:
        shown: Sequence[str] = [f"{x.symbol} ({x.reason[:100]})" for x in left]
        yield warn(
            "assets",
            f"{len(left)} given up as invalid for a day: {names(shown)}",
            "Correct what is named: the row in trading.symbols, or the rule that refuses it; then "
            f"`assetq dead retry {' '.join(letter.symbol for letter in left[:_RETRIED])}`.",
        )
