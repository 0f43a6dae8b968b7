"""The rules of one quota and one queue, as the scripts receive them."""

from dataclasses import asdict, dataclass


@dataclass(frozen=True)
class Policy:
    """All durations in milliseconds; the clock is Redis' own.

    A call that is granted at t counts until t + send + window + guard, an answered one until its
    answer + window + guard: as the provider counts arrivals, no window holds more than `limit`.
    """

    limit: int | None = 5
    """Calls per window; None: the plan has no limit."""
    window_ms: int = 60_000
    send_ms: int = 5_000
    """A granted call must have arrived within this time, or is not sent at all."""
    guard_ms: int = 100
    """Script clocks floor to milliseconds, and the provider's clock drifts."""
    spacing_ms: int = 0
    """Least time between two grants."""
    tolerance_ms: int = 5_000
    """A batch may start this much after its slot; the more, the less quota lies idle before it."""
    grace_ms: int = 10_000
    """A batch that was not enqueued this long after its slot no longer holds calls back."""
    aging_ms: int = 1_800_000
    """Each such wait raises an item by one band, up to the second; 0: never."""
    breaker_after: int = 5
    """So many failed calls in a row, and nobody calls until a probe succeeds; 0: never."""
    breaker_first_ms: int = 15_000
    """From there to the first probe; each one that fails doubles it."""
    breaker_longest_ms: int = 300_000

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit {self.limit}: at least 1 call per window, or None")
        if self.window_ms < 1 or not self.send_ms > 0:
            raise ValueError("window and send budget must be positive")
        for name in (
            *("guard_ms", "spacing_ms", "tolerance_ms", "grace_ms", "aging_ms"),
            *("breaker_after", "breaker_first_ms", "breaker_longest_ms"),
        ):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative")

    @property
    def send_within_ms(self) -> int:
        """When the first byte must have left: the rest of the send budget is for its way.

        It matters only where no answer comes; an answer proves that the call had arrived.
        """
        return self.send_ms - min(1000, self.send_ms // 4)

    @property
    def horizon_ms(self) -> int:
        """The longest that one call can count, from its grant."""
        return self.send_ms + self.window_ms + self.guard_ms

    def as_args(self) -> dict[str, int]:
        """The policy as the scripts read it; no limit is 0 there."""
        return asdict(self) | {"limit": self.limit or 0}
