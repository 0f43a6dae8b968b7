"""The four metrics that people watch, each with its threshold, from what Redis has counted.

Nothing is counted here: batches keep records, the quota keeps the calls that waited, the queue its
size. The functions are pure; `measure` is given what `recent_batches` and others have read.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from queueing import BatchOutcome, BatchRecord, Priority, QuotaStatus, Stats
from runtime.context import Context

HOUR_MS = 3600 * 1000
KEPT_BATCHES = 100
"""How many batch records are read at most: more than an hour's, at one a minute."""
SUPERSEDED = "not refreshed before the next batch began"


@dataclass(frozen=True)
class Limit:
    """A metric's name and where the alert begins."""

    name: str
    threshold: float
    unit: str
    alert_below: bool = False

    def of(self, value: float | None) -> "Metric":
        """The metric with this value; None (nothing to measure yet) is no alert."""
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
    """One measured value."""

    limit: Limit
    value: float | None
    ok: bool

    @property
    def name(self) -> str:
        """As the user's document names it."""
        return self.limit.name

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        limit = self.limit
        return {
            "value": self.value,
            "threshold": limit.threshold,
            "alert": "below" if limit.alert_below else "above",
            "unit": limit.unit,
            "ok": self.ok,
        }


@dataclass(frozen=True)
class SettledBatch:
    """A batch, and what became of each asset as far as that is known."""

    record: BatchRecord
    outcomes: Mapping[str, BatchOutcome]
    """An asset without an outcome is still to come; only in the newest batches."""

    @property
    def failed(self) -> list[tuple[str, str]]:
        """Assets that are not fresh, each with its error; a retry that waits is among them."""
        rows = [(s, self.outcomes[s]) for s in self.record.assets if s in self.outcomes]
        return [(s, o.error or o.status) for s, o in rows if not o.ok]

    @property
    def known(self) -> bool:
        """Has every asset an outcome?"""
        return all(symbol in self.outcomes for symbol in self.record.assets)


def by_hand(record: BatchRecord) -> bool:
    """Was it asked for by hand? Scheduled batches are named for the second of their slot."""
    return not record.slot.isdigit()


def settled(records: Sequence[BatchRecord]) -> list[SettledBatch]:
    """The batches, newest first, with an outcome for whatever can have none any more.

    A request that was still open when the next scheduled batch began has failed: that batch asks
    anew. Between a batch by hand and its neighbours it is one request: the later record has it.
    """
    newest_first = sorted(records, key=lambda r: (r.started_at_ms, r.planned_at_ms), reverse=True)
    return [
        SettledBatch(record, _outcomes(record, newest_first[:position]))
        for position, record in enumerate(newest_first)
    ]


def _outcomes(record: BatchRecord, later: Sequence[BatchRecord]) -> dict[str, BatchOutcome]:
    found = dict(record.outcomes)
    for symbol in record.assets:
        if symbol not in found and (outcome := _taken_over(symbol, record, later)):
            found[symbol] = outcome
    return found


def _taken_over(
    symbol: str, record: BatchRecord, later: Sequence[BatchRecord]
) -> BatchOutcome | None:
    for follower in reversed(later):
        if not (by_hand(record) or by_hand(follower)):
            return BatchOutcome("failed", SUPERSEDED, follower.started_at_ms)
        if symbol in follower.outcomes:
            return follower.outcomes[symbol]
        record = follower
    return None


def success_rate(batches: Sequence[SettledBatch]) -> float | None:
    """Percent of the assets that were updated, or could not be fresher."""
    outcomes = [outcome for batch in batches for outcome in batch.outcomes.values()]
    if not outcomes:
        return None
    return 100 * sum(outcome.ok for outcome in outcomes) / len(outcomes)


def latency_ms(batches: Sequence[SettledBatch]) -> float | None:
    """Mean of the finished batches, from the start to the last asset's outcome."""
    spans = [
        batch.record.finished_at_ms - batch.record.started_at_ms
        for batch in batches
        if batch.record.finished_at_ms is not None
    ]
    return sum(spans) / len(spans) if spans else None


def secondary_size(stats: Stats) -> int:
    """How many assets wait, are delayed or being refreshed, but for critical ones that wait."""
    return max(0, stats.pending - stats.queued[Priority.CRITICAL])


def of_the_last_hour(
    batches: Sequence[SettledBatch], now_ms: int, interval_ms: int
) -> list[SettledBatch]:
    """The batches begun within the last hour; with a longer interval, within the last one."""
    since_ms = now_ms - max(HOUR_MS, interval_ms)
    return [batch for batch in batches if batch.record.started_at_ms >= since_ms]


def measure(
    batches: Sequence[SettledBatch], stats: Stats, quota: QuotaStatus, *, interval_ms: int
) -> tuple[Metric, ...]:
    """The four metrics. Batches beyond the last hour may be among those given."""
    lately = of_the_last_hour(batches, quota.now_ms, interval_ms)
    return (
        SUCCESS_RATE.of(success_rate(lately)),
        LATENCY.of(latency_ms(lately)),
        QUEUE_SIZE.of(secondary_size(stats)),
        RATE_LIMIT_WAITS.of(quota.waits_last_hour),
    )


def last_update_ms(batches: Sequence[SettledBatch]) -> int | None:
    """When a batch last left an asset as fresh as it can be; None: not within those given."""
    at = [o.at_ms for batch in batches for o in batch.outcomes.values() if o.ok and o.at_ms]
    return max(at, default=None)


def recent_batches(context: Context, count: int = KEPT_BATCHES) -> list[SettledBatch]:
    """The newest batches, newest first: two round trips. Raises RedisError."""
    slots: Any = context.redis.zrevrange(context.keys.batches, 0, count - 1)
    pipe = context.redis.pipeline(transaction=False)
    for slot in slots:
        pipe.hgetall(context.keys.batch(slot))
    return settled([BatchRecord.from_hash(raw) for raw in pipe.execute() if raw])


def measure_now(context: Context) -> tuple[Metric, ...]:
    """The four metrics, read from Redis. Raises RedisError."""
    interval_ms = context.settings.batch_interval_minutes * 60_000
    return measure(
        recent_batches(context),
        context.queue.stats(),
        context.limiter.status(),
        interval_ms=interval_ms,
    )
