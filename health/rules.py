"""What makes the system healthy, degraded or unhealthy: pure rules, each tried on its own.

unhealthy (503): assets are not being kept fresh, and somebody must act
- Redis does not answer, or PostgreSQL does not
- no scheduler was alive for 30 s, no worker for 90 s (by their own heartbeat, not RQ's books)
- the last batch is older than two intervals and a minute, or none ever ran within an interval
- the provider does not accept the API key

degraded (200): it works, but not as it should
- one of the four metrics is beyond its threshold
- the last batch left an asset that is not fresh
- the provider fails: nobody calls but for a probe now and then
- calls are blocked (429, or by hand), or held because Redis does not know the last window's calls
- an asset killed its workers (dead letter of kind poison) and waits for somebody to look
- an entry is missing in the schedule
- workers say that they cannot work (an outage that they see and this process does not)
- it has just been started, or is being restarted: no batch, worker or scheduler within the limits
  above, a first batch that still runs; an old last batch is forgiven for the first minute

healthy: none of these. A batch that is late, or missing, means nothing where priority assets are
switched off.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from health.batches import SettledBatch
from health.metrics import Metric
from health.texts import at, names, span
from queueing import DeadLetter, QuotaStatus, Stats
from runtime.heartbeat import Process

SCHEDULER_LIMIT_MS = 30_000
WORKER_LIMIT_MS = 90_000
BATCH_SLACK_MS = 60_000
STARTING_MS = 60_000
"""An old batch is forgiven to a system that has been up for no longer than this."""


class Level(IntEnum):
    """How bad a cause is; the worst one is the status."""

    HEALTHY = 0
    DEGRADED = 1
    UNHEALTHY = 2

    @property
    def status(self) -> str:
        """The word for people and load balancers."""
        return self.name.lower()


@dataclass(frozen=True)
class Cause:
    """One reason for not being healthy."""

    key: str
    """Names it across requests, so that it is known since when it has been seen."""
    level: Level
    text: str
    since_ms: int | None = None
    """None: only this process can tell since when it has seen it."""

    def sentence(self, seen_since_ms: int) -> str:
        """For people: the cause, and since when."""
        if self.since_ms is None:
            return f"{self.text}, seen since {at(seen_since_ms)}."
        return f"{self.text}, since {at(self.since_ms)}."


@dataclass(frozen=True)
class State:
    """Everything that Redis tells; instants in ms of its clock."""

    stats: Stats
    quota: QuotaStatus
    blocked_since_ms: int | None
    batches: Sequence[SettledBatch]
    """Newest first."""
    metrics: Sequence[Metric]
    jobs: Sequence[dict[str, Any]]
    dead: Sequence[DeadLetter]
    processes: Sequence[Process]
    last_seen_ms: dict[str, int]
    """worker, scheduler, batch → when one was last seen; at the latest when this process began."""
    outage: str | None = None
    counters: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Facts:
    """What the rules judge."""

    now_ms: int
    started_ms: int
    """When this process began to look, on the same clock."""
    interval_ms: int
    batches_wanted: bool = True
    redis: str | None = None
    """Why Redis does not answer; None: it does."""
    database: str | None = None
    """Why PostgreSQL cannot be used; None: it can."""
    state: State | None = None
    """None while Redis is away."""


Rule = Callable[[Facts, State], Iterator[Cause]]


def judge(facts: Facts) -> list[Cause]:
    """All causes, the worst first; none: healthy."""
    causes = list(servers(facts))
    if facts.state:
        for rule in RULES:
            causes += rule(facts, facts.state)
    return sorted(causes, key=lambda cause: -cause.level)


def worst(causes: Sequence[Cause]) -> Level:
    """The status that these causes make."""
    return max((cause.level for cause in causes), default=Level.HEALTHY)


def servers(facts: Facts) -> Iterator[Cause]:
    """Redis and PostgreSQL answer."""
    if facts.redis:
        yield Cause("redis", Level.UNHEALTHY, f"Redis does not answer ({facts.redis})")
    if facts.database:
        yield Cause("database", Level.UNHEALTHY, f"PostgreSQL cannot be used ({facts.database})")


def processes(facts: Facts, state: State) -> Iterator[Cause]:
    """A scheduler and a worker live."""
    for role, limit_ms in (("scheduler", SCHEDULER_LIMIT_MS), ("worker", WORKER_LIMIT_MS)):
        seen_ms = state.last_seen_ms[role]
        late = facts.now_ms - seen_ms > limit_ms
        if late or not any(process.role == role for process in state.processes):
            level = Level.UNHEALTHY if late else Level.DEGRADED
            yield Cause(role, level, f"No {role} is alive", seen_ms)


def batch_age(facts: Facts, state: State) -> Iterator[Cause]:
    """The last batch is young enough."""
    if not facts.batches_wanted:
        return
    every = span(facts.interval_ms / 1000)
    if not state.batches:
        since_ms = state.last_seen_ms["batch"]
        waited = facts.now_ms - since_ms > facts.interval_ms
        level = Level.UNHEALTHY if waited else Level.DEGRADED
        yield Cause("batch", level, f"No batch has run yet (one is due every {every})", since_ms)
        return
    planned_ms = state.batches[0].record.planned_at_ms
    if facts.now_ms - planned_ms <= 2 * facts.interval_ms + BATCH_SLACK_MS:
        return
    starting = facts.now_ms - facts.started_ms < STARTING_MS
    level = Level.DEGRADED if starting else Level.UNHEALTHY
    yield Cause("batch", level, f"No batch has run (one is due every {every})", planned_ms)


def last_batch(facts: Facts, state: State) -> Iterator[Cause]:
    """The last batch whose end is known, or the running one, left no asset behind."""
    if not facts.batches_wanted or not state.batches:
        return
    told = next((batch for batch in state.batches if batch.known or batch.failed), None)
    if told is None:
        since_ms = state.batches[-1].record.started_at_ms
        yield Cause("last-batch", Level.DEGRADED, "The first batch has not finished yet", since_ms)
        return
    if not told.failed:
        return
    failed = [f"{symbol} ({error[:200]})" for symbol, error in told.failed]
    yield Cause(
        "last-batch",
        Level.DEGRADED,
        f"The last batch did not refresh {names(failed)}",
        told.record.started_at_ms,
    )


def key_and_quota(facts: Facts, state: State) -> Iterator[Cause]:
    """The provider may be called."""
    quota = state.quota
    if quota.blocked_until_ms > quota.now_ms:
        reason = quota.blocked_reason or "no reason was given"
        until = f"until {at(quota.blocked_until_ms)}"
        if reason.startswith("401"):
            text = f"The provider refuses the API key, no call is made {until} ({reason})"
            yield Cause("blocked", Level.UNHEALTHY, text, state.blocked_since_ms)
        else:
            text = f"No call is made {until} ({reason})"
            yield Cause("blocked", Level.DEGRADED, text, state.blocked_since_ms)
    if quota.breaker.open:
        text = (
            f"The provider fails ({quota.breaker.reason or 'no reason was given'}), no call is "
            f"made but one probe at {at(quota.breaker.probe_at_ms)}"
        )
        yield Cause("breaker", Level.DEGRADED, text, quota.breaker.since_ms)
    if quota.limit is not None and quota.hold_until_ms > quota.now_ms:
        text = (
            "Redis does not know the calls of the last window (it is new, was restarted or "
            f"emptied), no call is made until {at(quota.hold_until_ms)}"
        )
        yield Cause("hold", Level.DEGRADED, text)


def metrics(facts: Facts, state: State) -> Iterator[Cause]:
    """Every metric is within its threshold."""
    for metric in state.metrics:
        if not metric.ok:
            limit = metric.limit
            side = "below" if limit.alert_below else "above"
            text = f"{metric.name} is {metric.value:g}, {side} {limit.threshold:g} {limit.unit}"
            yield Cause(metric.name, Level.DEGRADED, text)


def poison(facts: Facts, state: State) -> Iterator[Cause]:
    """No asset kills its workers."""
    letters = [letter for letter in state.dead if letter.kind == "poison"]
    if letters:
        text = (
            f"Workers died refreshing {names([letter.symbol for letter in letters])}, which waits "
            "in the dead letters until somebody retries or drops it"
        )
        yield Cause("poison", Level.DEGRADED, text, min(x.died_at_ms for x in letters))


def schedule(facts: Facts, state: State) -> Iterator[Cause]:
    """Every entry stands in the schedule."""
    missing = [job["id"] for job in state.jobs if job["next_run"] is None]
    if missing:
        text = f"Missing in the schedule: {names(missing)} (a living scheduler restores it)"
        yield Cause("schedule", Level.DEGRADED, text)


def outage(facts: Facts, state: State) -> Iterator[Cause]:
    """Workers can work."""
    if state.outage and not facts.database:
        yield Cause("outage", Level.DEGRADED, f"Workers cannot work ({state.outage})")


RULES: tuple[Rule, ...] = (
    processes,
    batch_age,
    last_batch,
    key_and_quota,
    metrics,
    poison,
    schedule,
    outage,
)
