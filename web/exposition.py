"""`/metrics`: the state of the system as Prometheus metrics.

Every family has one unit, which its name ends with; durations are seconds and rates are ratios of
0 to 1. A value that is not known is absent.
"""

from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from health.causes import Level
from health.facts import Facts, State
from health.freshness import FreshnessRow
from health.metrics import LATENCY, QUEUE_SIZE, RATE_LIMIT_WAITS, SUCCESS_RATE
from health.next_call import next_call, next_refresh, notes
from health.report import remaining, servers
from health.rules import judge
from queueing import Priority
from web.families import BANDS, assets, gauge, timings, value

WATCHED = {
    SUCCESS_RATE: (
        "batch_priority_success_ratio",
        100,
        "Share of priority assets that their batches of the last hour left fresh.",
    ),
    LATENCY: (
        "batch_priority_latency_seconds",
        1000,
        "Mean duration of the last hour's batches.",
    ),
    QUEUE_SIZE: (
        "queue_size",
        1,
        "Items queued, delayed or leased, but queued critical ones.",
    ),
    RATE_LIMIT_WAITS: (
        "api_rate_limit_waits",
        1,
        "Urgent calls of the last hour that waited over a second for a permit.",
    ),
}
"""Watched metric → family, divisor to its base unit, help."""

COUNTERS = {
    "enqueued": ("enqueued", None, "Requests that were added to the queue."),
    "refused": ("refused", None, "Requests that were refused because the queue was full."),
    "cancelled": ("cancelled", None, "Requests that were taken back."),
    "completed": ("completed", None, "Items that were refreshed."),
    "continued": ("continued", None, "Items of which a part was done and more remained."),
    "retried": ("retried", None, "Items that failed and were delayed for a retry."),
    "given_back": ("given_back", None, "Items that returned to the queue without an attempt."),
    "buried": ("buried", "kind", "Items that became dead letters."),
    "reaped": ("reaped", None, "Items whose lease expired."),
    "granted": ("granted_calls", "priority", "Calls that were granted, by the item's priority."),
    "waits": ("waits", "reason", "Claims that had to wait."),
    "consumed": ("consumed_calls", None, "Calls that were made elsewhere and counted here."),
    "lost_calls": ("lost_calls", None, "Calls whose process died or was stopped."),
    "probes": ("probes", None, "Calls that tried whether the provider is back."),
    "breaker_opened": ("breaker_opened", None, "Times that the circuit breaker opened."),
    "blocks": ("blocks", None, "Times that calls were blocked."),
    "holds": ("holds", None, "Times that grants were held because the window was incomplete."),
    "batches": ("batches", None, "Batches that began."),
}
"""Counter in Redis (before a colon) → family, label for what follows the colon, help."""


class StateCollector(Collector):
    """What one look at the system found, as metric families."""

    def __init__(self, facts: Facts, level: Level, rows: Sequence[FreshnessRow]) -> None:
        self._facts = facts
        self._level = level
        self._rows = rows

    def collect(self) -> Iterator[Metric]:
        """Yield every family; without Redis only those that are known without it."""
        status = gauge("status", "1 for the present status, 0 for the others.", ["status"])
        for level in Level:
            status.add_metric([level.status], level is self._level)
        up = gauge("server_up", "1 while the server can be used.", ["server"])
        for server, usable in servers(self._facts).items():
            up.add_metric([server], usable)
        present = gauge("cause", "1 for each present cause of trouble.", ["cause", "level"])
        for cause in judge(self._facts):
            present.add_metric([cause.key, cause.level.status], 1)
        yield from (status, up, present, *_waits(self._facts))
        if state := self._facts.state:
            yield from _queue(state)
            yield from _quota(state)
            yield from _watched(state)
            yield from _batches(state)
            yield from _counters(state)
            yield from timings(state.histograms)
        if self._rows:
            yield from assets(self._rows)


def exposition(
    facts: Facts, level: Level, accept: str = "", rows: Sequence[FreshnessRow] = ()
) -> tuple[bytes, str]:
    """Return the metrics in the format that `accept` asks for, and its content type.

    `rows`: how fresh each asset is; empty if that cannot be read.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(StateCollector(facts, level, rows))
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type


def _waits(facts: Facts) -> Iterator[Metric]:
    """The same causes as those of `next_call` and `next_refresh` in `/health/batch`."""
    text = "1 for what the next critical call, other call or refresh of pending work waits for."
    waits = gauge("wait_cause", text, ["next", "cause"])
    held = {
        "critical_call": next_call(facts, urgent=True),
        "other_call": next_call(facts, urgent=False),
        "refresh": next_refresh(facts),
    }
    for name, cause in held.items():
        if cause:
            waits.add_metric([name, cause.key], 1)
    quiet = gauge("quiet_cause", "1 for each cause of quiet that is no trouble.", ["cause"])
    for cause in notes(facts.state) if facts.state else ():
        quiet.add_metric([cause.key], 1)
    yield from (family for family in (waits, quiet) if family.samples)


def _queue(state: State) -> Iterator[Metric]:
    stats = state.stats
    queued = gauge("queued_items", "Items that may be claimed now.", ["priority"])
    for priority in Priority:
        queued.add_metric([priority.name.lower()], stats.queued[priority])
    yield queued
    text = "Items that the queue takes before it refuses new ones that are not critical."
    yield value("queue_max_items", text, state.places)
    yield value("delayed_items", "Items that wait for their time.", stats.delayed)
    yield value("leased_items", "Items that are being refreshed.", stats.leased)
    yield value("dead_items", "Dead letters.", stats.dead)
    yield value("failing_items", "Delayed items whose last attempt failed.", len(state.failing))
    failed = sum(state.failed_ticks.values())
    yield value("failed_ticks", "Ticks that failed within the last hour.", failed)
    age_s = stats.oldest_item_age_seconds
    yield value("oldest_item_age_seconds", "Age of the oldest queued request.", age_s)
    text = "Time since the process' last heartbeat."
    heartbeats = gauge("heartbeat_age_seconds", text, ["role", "process"])
    for process in state.processes:
        heartbeats.add_metric([process.role, process.name], process.age_ms / 1000)
    yield heartbeats


def _quota(state: State) -> Iterator[Metric]:
    quota = state.quota
    if quota.limit is not None and quota.free is not None:
        yield value("quota_limit_calls", "Calls that a window allows.", quota.limit)
        yield value("quota_free_calls", "Permits that no call holds now.", quota.free)
    left = remaining(quota)
    if left is not None:
        text = "Calls that could be made at once: none while calls are held, blocked or failing."
        yield value("quota_remaining_calls", text, left)
    blocked = quota.blocked_until_ms > quota.now_ms
    yield value("quota_blocked", "1 while calls are blocked.", blocked)
    held = quota.limit is not None and quota.hold_until_ms > quota.now_ms
    yield value("quota_held", "1 while grants are held: the window may be incomplete.", held)
    yield value("breaker_open", "1 while the circuit breaker is open.", quota.breaker.open)
    failures = quota.breaker.failures
    yield value("consecutive_failures", "Calls that failed in a row.", failures)


def _watched(state: State) -> Iterator[Metric]:
    alerts = gauge("alert", "1 while a watched metric is beyond its threshold.", ["metric"])
    for metric in state.metrics:
        family, divisor, text = WATCHED[metric.limit]
        if metric.value is not None:
            yield value(family, text, metric.value / divisor)
        alerts.add_metric([metric.name], not metric.ok)
    yield alerts


def _batches(state: State) -> Iterator[Metric]:
    if state.batches:
        last = state.batches[0].record
        at_s = last.planned_at_ms / 1000
        yield value("last_batch_timestamp_seconds", "Slot of the last batch.", at_s)
        yield value("last_batch_calls", "Calls that the last batch has made.", last.calls)


def _counters(state: State) -> Iterator[Metric]:
    """Since the counters in Redis began. One without a label is there before it first counts, so
    that a rate knows its first step."""
    families: dict[str, CounterMetricFamily] = {}
    unlabelled = {head: 0 for head, (_, label, _) in COUNTERS.items() if label is None}
    for name, number in sorted({**unlabelled, **state.counters}.items()):
        head, _, detail = name.partition(":")
        family, label, text = COUNTERS.get(head, ("", None, ""))
        if family and bool(label) == bool(detail):
            empty = CounterMetricFamily(f"assetq_{family}", text, labels=[label] if label else [])
            families.setdefault(head, empty).add_metric(_label_values(head, detail), number)
    yield from families.values()
    text = "Time in which a permit was free while eligible work waited."
    seconds = state.counters.get("idle_ms", 0) / 1000
    yield CounterMetricFamily("assetq_idle_seconds", text, value=seconds)


def _label_values(head: str, detail: str) -> list[str]:
    if head == "granted" and detail in BANDS:
        return [BANDS[detail]]
    return [detail] if detail else []
