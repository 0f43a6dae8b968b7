"""What makes the system healthy, degraded or unhealthy: pure rules, each tested on its own.

unhealthy (503): assets are not being kept fresh, and an operator must act
- Redis cannot be read, or refuses changes (memory, disk, replicas, read-only)
- PostgreSQL cannot be used: absent, not migrated, read-only, or without the rights to store
- RQ is suspended in this Redis
- no scheduler was alive for 30 s, no worker for 90 s (by heartbeat, not by RQ's registries)
- the last batch is older than two intervals and a minute, or none ever ran within an interval
- the provider does not accept the API key

degraded (200): it works, but not as it should
- one of the four metrics is beyond its threshold
- the last batch left an asset that is not fresh; an asset failed twice or was given up
- the last secondary round is older than two intervals and a minute
- ticks failed within the last hour
- the circuit breaker is open; calls are blocked (429, or by hand); grants are held because Redis
  does not know the last window's calls
- an asset killed its workers (dead letter of kind poison) and waits for an operator
- an entry is missing in the schedule
- the workers pause for an outage that they see and this process does not
- it has just been started, or is being restarted: no batch, worker or scheduler within the limits
  above, a first batch that still runs; an old last batch is forgiven for the first minute

healthy: none of these. Batches do not matter where priority assets are switched off.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from health import causes, holds
from health.causes import Cause, Level
from health.facts import Facts, State
from health.metrics import secondary_size
from queueing import Death

SCHEDULER_LIMIT_MS = 30_000
WORKER_LIMIT_MS = 90_000
ROUND_SLACK_MS = 60_000
STARTING_MS = 60_000
"""An old batch is forgiven for this long after the start."""
FAILED_ATTEMPTS = 2
"""Attempts after which an asset that waits for a retry counts as failing."""

Rule = Callable[[Facts, State], Iterator[Cause]]


def judge(facts: Facts) -> list[Cause]:
    """Return all causes of trouble but their symptoms, the worst first; none: healthy."""
    found = list(servers(facts))
    if facts.state:
        for rule in RULES:
            found += rule(facts, facts.state)
    known = [_possible(cause, facts.now_ms) for cause in found]
    shown = [cause for cause in known if not any(_explains(other, cause) for other in known)]
    return sorted(shown, key=lambda cause: -cause.level)


_ROUNDS = ("worker", "batch", "last-batch", "secondary", "ticks")
_SYMPTOMS = {
    "redis": (*_ROUNDS, "scheduler", "schedule"),  # heartbeats cannot be written either
    "suspended": _ROUNDS,
    "worker": ("batch", "secondary", "outage"),
    "scheduler": ("batch", "secondary", "schedule"),
}
"""Cause → what follows from it and would be a wrong diagnosis beside it."""


def _explains(cause: Cause, symptom: Cause) -> bool:
    follow = _SYMPTOMS.get(cause.key.partition(".")[0], ())
    return symptom.key in follow and cause.level >= symptom.level


def _possible(cause: Cause, now_ms: int) -> Cause:
    """Drop a beginning that lies ahead, because Redis' clock has stepped back since, and an end
    that has passed: a probe may be due and wait for a free call."""
    since_ms, until_ms = cause.since_ms, cause.until_ms
    if since_ms is not None and since_ms > now_ms:
        cause = replace(cause, since_ms=None)
    if until_ms is not None and until_ms <= now_ms:
        cause = replace(cause, until_ms=None)
    return cause


def worst(found: Sequence[Cause]) -> Level:
    """Return the status that these causes make."""
    return max((cause.level for cause in found), default=Level.HEALTHY)


def servers(facts: Facts) -> Iterator[Cause]:
    """Redis and PostgreSQL can be used."""
    if facts.redis:
        yield causes.redis_outage(facts.redis)
    elif facts.state and facts.state.writes:
        yield causes.redis_outage(facts.state.writes)
    if facts.database:
        yield causes.database(facts.database)


def suspension(facts: Facts, state: State) -> Iterator[Cause]:
    """RQ's workers may work."""
    if state.suspended:
        yield causes.suspended()


def processes(facts: Facts, state: State) -> Iterator[Cause]:
    """A scheduler and a worker are alive."""
    for role, limit_ms in (("scheduler", SCHEDULER_LIMIT_MS), ("worker", WORKER_LIMIT_MS)):
        seen_ms = state.last_seen_ms[role]
        gone = facts.now_ms - seen_ms > limit_ms
        if gone or not any(p.role == role and p.alive for p in state.processes):
            late = facts.now_ms - max(seen_ms, facts.started_ms) > limit_ms
            level = Level.UNHEALTHY if late else Level.DEGRADED
            yield causes.no_process(role, level, seen_ms)


def batch_age(facts: Facts, state: State) -> Iterator[Cause]:
    """The last batch is young enough."""
    if not facts.batches_wanted:
        return
    if not state.batches:
        since_ms = state.last_seen_ms["batch"]
        waited = facts.now_ms - since_ms > facts.interval_ms
        level = Level.UNHEALTHY if waited else Level.DEGRADED
        yield causes.no_batch_yet(level, facts.interval_ms, since_ms)
        return
    planned_ms = state.batches[0].record.planned_at_ms
    if facts.now_ms - planned_ms > 2 * facts.interval_ms + ROUND_SLACK_MS:
        starting = facts.now_ms - facts.started_ms < STARTING_MS
        level = Level.DEGRADED if starting else Level.UNHEALTHY
        yield causes.old_batch(level, facts.interval_ms, planned_ms)


def secondary_age(facts: Facts, state: State) -> Iterator[Cause]:
    """The last secondary round is young enough."""
    seen_ms = state.secondary_ms or state.last_seen_ms["secondary"]
    if facts.now_ms - seen_ms > 2 * facts.secondary_interval_ms + ROUND_SLACK_MS:
        yield causes.old_secondary(facts.secondary_interval_ms, seen_ms)


def last_batch(facts: Facts, state: State) -> Iterator[Cause]:
    """The last batch whose end is known, or the running one, left no asset behind."""
    if not facts.batches_wanted or not state.batches:
        return
    known = next((batch for batch in state.batches if batch.known or batch.failed), None)
    if known is None:
        yield causes.first_batch_running(state.batches[-1].record.started_at_ms)
    elif known.failed:
        yield causes.batch_left(known.failed, known.record.started_at_ms)


def calls(facts: Facts, state: State) -> Iterator[Cause]:
    """The provider may be called."""
    quota = state.quota
    if quota.blocked_until_ms > quota.now_ms:
        yield holds.blocked(quota, state.blocked_since_ms)
    if quota.breaker.open:
        yield holds.breaker(quota)
    if quota.limit is not None and quota.hold_until_ms > quota.now_ms:
        yield holds.hold(quota)
    if quota.mismatch:
        yield holds.policy(quota.mismatch)


def capacity(facts: Facts, state: State) -> Iterator[Cause]:
    """The quota carries the batch, and leaves calls for the others that wait."""
    quota, possible = state.quota, state.quota.calls_per_batch
    if possible is None or not facts.batches_wanted:
        return
    load = (quota.batch_calls, possible, quota.batch_interval_ms)
    if not quota.batch_fits:
        yield holds.batch_too_large(*load)
    elif quota.batch_calls > possible - 1 and secondary_size(state.stats):
        yield holds.nothing_left(*load)


def metrics(facts: Facts, state: State) -> Iterator[Cause]:
    """Every watched metric is within its threshold."""
    for metric in state.metrics:
        if not metric.ok:
            yield causes.beyond_threshold(metric)


def assets(facts: Facts, state: State) -> Iterator[Cause]:
    """No asset kills its workers, and none fails again and again."""
    if poisonous := [letter for letter in state.dead if letter.kind is Death.POISON]:
        yield causes.poison(poisonous)
    failing = [item for item in state.failing if item.attempts >= FAILED_ATTEMPTS]
    given_up = [letter for letter in state.dead if letter.kind is Death.TRANSIENT]
    if failing or given_up:
        yield causes.failing_assets(failing, given_up)


def ticks(facts: Facts, state: State) -> Iterator[Cause]:
    """Ticks end without an error."""
    if state.failed_ticks:
        yield causes.failing_ticks(state.failed_ticks)


def schedule(facts: Facts, state: State) -> Iterator[Cause]:
    """Every entry stands in the schedule."""
    if missing := [job["id"] for job in state.jobs if job["next_run"] is None]:
        yield causes.missing_entries(missing)


def logs(facts: Facts, state: State) -> Iterator[Cause]:
    """Every process can write its log."""
    if state.unlogged:
        yield causes.lost_logs(state.unlogged)


def outage(facts: Facts, state: State) -> Iterator[Cause]:
    """The workers see no outage that this process does not see."""
    if state.outage and not facts.database and not state.writes:
        yield causes.paused(state.outage)


RULES: tuple[Rule, ...] = (
    suspension,
    processes,
    batch_age,
    secondary_age,
    last_batch,
    calls,
    capacity,
    metrics,
    assets,
    ticks,
    schedule,
    logs,
    outage,
)
