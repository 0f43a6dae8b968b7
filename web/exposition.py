"""Redis' numbers in Prometheus' text format, written by hand: a few gauges and counters."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from health.rules import Facts, Level, State
from queueing import Priority

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_LABEL_OF = {"granted": "priority", "waits": "reason", "buried": "kind"}
_IDLE = "idle_ms"


@dataclass
class Family:
    """One metric with its samples (labels → value); `name` comes without the prefix."""

    name: str
    kind: str
    help: str
    samples: list[tuple[Mapping[str, str], float]] = field(default_factory=list)

    def add(self, value: float | None, **labels: str) -> "Family":
        """One more sample; None is none."""
        if value is not None:
            self.samples.append((labels, value))
        return self

    def text(self) -> str:
        """Help, type and samples."""
        head = f"# HELP assetq_{self.name} {self.help}\n# TYPE assetq_{self.name} {self.kind}\n"
        return head + "".join(
            f"assetq_{self.name}{_labels(labels)} {value:.15g}\n" for labels, value in self.samples
        )


def exposition(facts: Facts, level: Level) -> str:
    """Everything; without Redis only what is known without it."""
    families = list(_always(facts, level))
    if facts.state:
        families += _queue(facts.state)
        families += _quota(facts.state)
        families += _batches(facts.state)
        families += _counters(facts.state.counters)
    return "".join(family.text() for family in families if family.samples)


def _always(facts: Facts, level: Level) -> Iterator[Family]:
    status = Family("status", "gauge", "1 for the present status of the system.")
    for each in Level:
        status.add(each == level, status=each.status)
    yield status
    up = Family("server_up", "gauge", "1 if the server can be used.")
    yield up.add(facts.redis is None, server="redis").add(
        facts.database is None, server="postgresql"
    )


def _queue(state: State) -> Iterator[Family]:
    stats = state.stats
    queue = Family("queue_items", "gauge", "Assets that may run now.")
    for priority in Priority:
        queue.add(stats.queued[priority], priority=priority.name.lower())
    yield queue
    yield _gauge("delayed_items", "Assets that wait for their time.", stats.delayed)
    yield _gauge("leased_items", "Assets that are being refreshed.", stats.leased)
    yield _gauge("dead_items", "Dead letters.", stats.dead)
    age_s = stats.oldest_item_age_seconds
    yield _gauge("oldest_item_age_seconds", "Age of the oldest waiting request.", age_s)
    processes = Family("process_seen_seconds", "gauge", "Seconds since the process was seen.")
    for process in state.processes:
        processes.add(process.age_ms / 1000, role=process.role, process=process.name)
    yield processes


def _quota(state: State) -> Iterator[Family]:
    quota = state.quota
    yield _gauge("quota_limit_calls", "Calls per window; absent: no limit.", quota.limit)
    yield _gauge("quota_free_calls", "Calls that are free now; absent: no limit.", quota.free)
    blocked = quota.blocked_until_ms > quota.now_ms
    yield _gauge("quota_blocked", "1 while nobody may call.", blocked)
    open_ = quota.breaker.open
    yield _gauge("provider_breaker_open", "1 while the provider fails and only probes call.", open_)
    failures = quota.breaker.failures
    yield _gauge("provider_failures", "Calls that failed in a row.", failures)
    held = quota.limit is not None and quota.hold_until_ms > quota.now_ms
    yield _gauge("quota_held", "1 while the last window's calls are unknown.", held)


def _batches(state: State) -> Iterator[Family]:
    limits = Family("alert_threshold", "gauge", "Where the alert of a metric begins.")
    values = Family("alert_value", "gauge", "The metrics that have an alert.")
    for metric in state.metrics:
        values.add(metric.value, metric=metric.name)
        limits.add(metric.limit.threshold, metric=metric.name)
    yield values
    yield limits
    if state.batches:
        last = state.batches[0].record
        at_s = last.planned_at_ms / 1000
        yield _gauge("last_batch_timestamp_seconds", "Slot of the last batch.", at_s)
        yield _gauge("last_batch_calls", "Calls of the last batch so far.", last.calls)


def _counters(counters: Mapping[str, int]) -> Iterator[Family]:
    grouped: dict[str, list[tuple[str, int]]] = defaultdict(list)
    for name, value in sorted(counters.items()):
        head, _, detail = name.partition(":")
        grouped[re.sub(r"\W", "_", head)].append((detail, value))
    for head, rows in grouped.items():
        if head == _IDLE:
            text = "Time in which a call was free and eligible work waited."
            yield Family("idle_seconds_total", "counter", text).add(rows[0][1] / 1000)
            continue
        family = Family(f"{head}_total", "counter", f"Counted in Redis as {head}.")
        for detail, value in rows:
            family.add(value, **({_LABEL_OF.get(head, "detail"): detail} if detail else {}))
        yield family


def _gauge(name: str, text: str, value: float | None) -> Family:
    return Family(name, "gauge", text).add(value)


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    pairs = (f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return "{" + ",".join(pairs) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
