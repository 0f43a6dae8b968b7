"""The histograms of wait, call and batch time, which the end of a call keeps in one hash."""

from collections.abc import Mapping
from dataclasses import dataclass

BOUNDS_MS: Mapping[str, tuple[int, ...]] = {
    "wait": (
        *(1_000, 5_000, 15_000, 60_000, 120_000, 300_000, 900_000),
        *(1_800_000, 3_600_000, 14_400_000, 86_400_000),
    ),
    "call": (50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000),
    "batch": (1_000, 2_000, 5_000, 10_000, 30_000, 60_000, 120_000, 300_000),
}
"""Histogram → upper bounds of its buckets; a last one has no bound."""


@dataclass(frozen=True)
class Histogram:
    """One histogram. Workers of any number share it; it is as old as the counters."""

    name: str
    """wait: from the request of an item to the grant of the call that refreshed it; call: from the
    first byte sent to the whole answer, or to the failure; batch: from its start to the last final
    outcome."""
    label: str
    """The item's priority (wait), ok or failed (call), empty (batch)."""
    counts: tuple[int, ...]
    """How many fell into each bucket alone, the one without a bound last."""
    sum_ms: int

    @property
    def count(self) -> int:
        """How many were observed."""
        return sum(self.counts)


def histograms(fields: Mapping[str, int]) -> list[Histogram]:
    """Read the hash of `Keys.timings`. Fields of other bounds or names are left out."""
    labels = {name.rpartition(":")[0] for name in fields}
    found = []
    for full in sorted(labels):
        name, _, label = full.partition(":")
        bounds = [*map(str, BOUNDS_MS.get(name, ())), "inf"]
        counts = tuple(fields.get(f"{full}:{bound}", 0) for bound in bounds)
        if name in BOUNDS_MS and any(counts):
            found.append(Histogram(name, label, counts, fields.get(f"{full}:sum", 0)))
    return found
