"""What one look at the system found: the input of every rule, metric and report."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from health.batches import SettledBatch
from health.database import DatabaseProblem
from health.metrics import Metric
from queueing import DeadLetter, Histogram, QuotaStatus, Stats
from runtime.heartbeat import Process
from runtime.redis_outage import Outage


@dataclass(frozen=True)
class Failing:
    """An item that failed and waits for its next attempt."""

    symbol: str
    attempts: int
    error: str


@dataclass(frozen=True)
class State:
    """Everything that Redis tells; instants in ms of its clock, none of them in the future."""

    stats: Stats
    quota: QuotaStatus
    blocked_since_ms: int | None
    batches: Sequence[SettledBatch]
    """Newest first."""
    metrics: Sequence[Metric]
    jobs: Sequence[dict[str, Any]]
    dead: Sequence[DeadLetter]
    processes: Sequence[Process]
    last_seen_ms: Mapping[str, int]
    """worker, scheduler, batch, secondary → when one was last seen, by any process; where that is
    unknown, when this process began to look."""
    places: int = 0
    """How many items the queue takes before it refuses new ones that are not critical."""
    outage: str | None = None
    """Why the workers pause, in their words."""
    counters: Mapping[str, int] = field(default_factory=dict)
    histograms: Sequence[Histogram] = ()
    writes: Outage | None = None
    """Why Redis refuses changes; None: it accepts them."""
    suspended: bool = False
    """True while RQ's workers are suspended."""
    newer: bool = False
    """True where everything that is queued needs workers of a newer version than this process."""
    secondary_ms: int | None = None
    """Slot of the last secondary round."""
    failed_ticks: Mapping[str, int] = field(default_factory=dict)
    """Kind of tick → number that failed within the last hour."""
    failing: Sequence[Failing] = ()
    unpublished: Mapping[str, int] = field(default_factory=dict)
    """Market → until when its newest day is not asked for, as it is not published yet."""
    closed_markets: Sequence[str] = ()
    unlogged: Sequence[str] = ()
    """Processes whose log cannot be written."""


@dataclass(frozen=True)
class Facts:
    """What the rules judge."""

    now_ms: int
    started_ms: int
    """When this process began to look, on the same clock."""
    interval_ms: int
    """Between two batches."""
    secondary_interval_ms: int = 30 * 60_000
    batches_wanted: bool = True
    redis: Outage | None = None
    """Why Redis cannot be read; None: it can."""
    database: DatabaseProblem | None = None
    """Why PostgreSQL cannot be used; None: it can."""
    state: State | None = None
    """None while Redis cannot be read."""
