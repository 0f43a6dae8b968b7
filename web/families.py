"""Families of `/metrics` that come from the histograms, and from how fresh each asset is."""

from collections import Counter
from collections.abc import Iterator, Sequence

from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.metrics_core import Metric

from health.freshness import Freshness, FreshnessRow
from queueing import BOUNDS_MS, Histogram, Priority

BANDS = {str(band.value): band.name.lower() for band in Priority}
HISTOGRAMS = {
    "wait": (
        "wait_seconds",
        "priority",
        "From the request of an item to the grant of the call that refreshed it.",
    ),
    "call": ("call_seconds", "outcome", "From sending a request to its answer or failure."),
    "batch": ("batch_seconds", None, "From the start of a batch to its last outcome."),
}
"""Histogram in Redis → family, label, help."""


def gauge(name: str, text: str, labels: Sequence[str]) -> GaugeMetricFamily:
    """Make a family with labels."""
    return GaugeMetricFamily(f"assetq_{name}", text, labels=labels)


def value(name: str, text: str, number: float) -> GaugeMetricFamily:
    """Make a family of one value."""
    return GaugeMetricFamily(f"assetq_{name}", text, value=number)


def timings(found: Sequence[Histogram]) -> Iterator[Metric]:
    """Yield the histograms of wait, call and batch time."""
    families = {
        name: HistogramMetricFamily(f"assetq_{family}", text, labels=[label] if label else [])
        for name, (family, label, text) in HISTOGRAMS.items()
    }
    for one in found:
        labels = [BANDS.get(one.label, one.label)] if HISTOGRAMS[one.name][1] else []
        families[one.name].add_metric(labels, _cumulative(one), one.sum_ms / 1000)
    yield from families.values()


def _cumulative(one: Histogram) -> list[tuple[str, float]]:
    bounds = [*(bound / 1000 for bound in BOUNDS_MS[one.name]), float("inf")]
    total, buckets = 0, []
    for bound, count in zip(bounds, one.counts, strict=True):
        total += count
        buckets.append(("+Inf" if bound == float("inf") else f"{bound:g}", float(total)))
    return buckets


def assets(rows: Sequence[FreshnessRow]) -> Iterator[Metric]:
    """Yield how fresh each asset is, and how many of each priority are in each state."""
    by = ["symbol", "priority"]
    age = gauge("asset_age_seconds", "Time since the asset's price was fetched.", by)
    target = gauge("asset_target_seconds", "Age beyond which the asset is late.", by)
    overdue = gauge("asset_overdue_seconds", "Time by which it is beyond its target, or 0.", by)
    counted: Counter[tuple[int, Freshness]] = Counter()
    for row in rows:
        labels = [row.symbol, _band(row.band)]
        counted[row.band, row.state] += 1
        target.add_metric(labels, row.target_s)
        overdue.add_metric(labels, row.over_s or 0)
        if row.age_s is not None:
            age.add_metric(labels, row.age_s)
    states = gauge("assets", "Assets by priority and state of their price.", ["priority", "state"])
    for band in sorted({row.band for row in rows}):
        for state in Freshness:
            states.add_metric([_band(band), state.value], counted[band, state])
    yield from (states, age, target, overdue)


def _band(band: int) -> str:
    return BANDS.get(str(band), str(band))
