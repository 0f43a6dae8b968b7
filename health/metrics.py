"""The four watched metrics, each with the threshold of its alert.

Nothing is counted here: batches keep records, the quota keeps the calls that waited, the queue
knows its size. All functions are pure.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from health.batches import SettledBatch
from queueing import BatchRecord, Priority, QuotaStatus, Stats

HOUR_MS = 3600 * 1000


@dataclass(frozen=True)
class Limit:
    """The name of a metric and the threshold of its alert."""

    name: str
    threshold: float
    unit: str
    alert_below: bool = False

    def of(self, value: float | None) -> "Metric":
        """Return the metric with this value; None (nothing to measure yet) raises no alert."""
        if value is None:
            return Metric(self, None, ok=True)
        value = round(value, 1)
        ok = value >= self.threshold if self.alert_below else value <= self.threshold
        return Metric(self, value, ok)


SUCCESS_RATE = Limit("batch.priority.success_rate", 90, "%", alert_below=True)
LATENCY = Limit("batch.priority.latency_ms", 30_000, "ms")
QUEUE_SIZE = Limit("queue.size", 500, "items")
RATE_LIMIT_WAITS = Limit("api.rate_limit_waits", 10, "per hour")


@dataclass(frozen=True)
class Metric:
    """A measured value, rounded to one decimal: what is shown is what is judged."""

    limit: Limit
    value: float | None
    ok: bool

    @property
    def name(self) -> str:
        """The metric's name in `/health/batch`."""
        return self.limit.name

    def as_dict(self) -> dict[str, Any]:
        """Return the metric for JSON."""
        limit = self.limit
        return {
            "value": self.value,
            "threshold": limit.threshold,
            "alert": "below" if limit.alert_below else "above",
            "unit": limit.unit,
            "ok": self.ok,
        }


def success_rate(batches: Sequence[SettledBatch]) -> float | None:
    """Percentage of the assets that were updated, or could not be fresher."""
    outcomes = [outcome for batch in batches for outcome in batch.outcomes.values()]
    if not outcomes:
        return None
    return 100 * sum(outcome.ok for outcome in outcomes) / len(outcomes)


def latency_ms(batches: Sequence[SettledBatch]) -> float | None:
    """Mean time from a batch's start to its last asset's outcome, of the batches that are over.

    A batch is not over while an asset waits for a retry, nor if the next one overtook it.
    """
    durations = [ms for batch in batches if (ms := _duration_ms(batch.record)) is not None]
    return sum(durations) / len(durations) if durations else None


def _duration_ms(record: BatchRecord) -> int | None:
    outcomes = [record.outcomes.get(symbol) for symbol in record.assets]
    if any(outcome is None or outcome.status == "retrying" for outcome in outcomes):
        return None
    ended_ms = max((outcome.at_ms or 0 for outcome in outcomes if outcome), default=0)
    return max(0, ended_ms - record.started_at_ms)


def secondary_size(stats: Stats) -> int:
    """Number of assets that are queued, delayed or leased, without queued critical ones and
    history that waits for calls to spare."""
    others = stats.queued[Priority.CRITICAL] + stats.queued[Priority.BACKFILL]
    return max(0, stats.pending - others)


def of_the_last_hour(
    batches: Sequence[SettledBatch], now_ms: int, interval_ms: int
) -> list[SettledBatch]:
    """The batches begun within the last hour; with a longer interval, within the last interval."""
    since_ms = now_ms - max(HOUR_MS, interval_ms)
    return [batch for batch in batches if batch.record.started_at_ms >= since_ms]


def measure(
    batches: Sequence[SettledBatch], stats: Stats, quota: QuotaStatus, *, interval_ms: int
) -> tuple[Metric, ...]:
    """Measure all four. Batches beyond the last hour may be among those given."""
    recent = of_the_last_hour(batches, quota.now_ms, interval_ms)
    return (
        SUCCESS_RATE.of(success_rate(recent)),
        LATENCY.of(latency_ms(recent)),
        QUEUE_SIZE.of(secondary_size(stats)),
        RATE_LIMIT_WAITS.of(quota.waits_last_hour),
    )
