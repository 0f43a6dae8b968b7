"""The rules of one quota and one queue, as the scripts receive them."""

from dataclasses import asdict, dataclass, replace


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
    background_share: int = 20
    """One call of this many in a row goes to background work that waits, whatever is critical or
    reserved; 0: no call is kept for it."""
    breaker_after: int = 5
    """Different items whose calls fail in a row until the circuit breaker opens; 0: never."""
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
            "background_share",
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

    @property
    def counted(self) -> str:
        """What is counted, in words: two policies that differ in it cannot share a quota."""
        if self.limit is None:
            return "any number of calls"
        text = f"{self.limit} calls per {self.window_ms / 1000:g} s"
        return f"{text} (send budget {self.send_ms / 1000:g} s, guard {self.guard_ms} ms)"

    def as_kept(self, text: str) -> "Policy":
        """The policy whose numbers the scripts keep as `text`; the rest is as here. One that an
        external writer spoilt counts nothing."""
        try:
            limit, window_ms, send_ms, guard_ms = map(int, text.split(":"))
            return replace(
                self, limit=limit or None, window_ms=window_ms, send_ms=send_ms, guard_ms=guard_ms
            )
        except ValueError:
            return replace(self, limit=None)

    def calls_within(self, span_ms: int) -> float | None:
        """How many calls a span allows, span after span; None: there is no limit."""
        return None if self.limit is None else self.limit * span_ms / self.window_ms

    def as_args(self) -> dict[str, int | str]:
        """The policy as the scripts read it; no limit is 0 there.

        `kept` is what makes two policies count differently: calls that were counted by one say
        nothing to the other.
        """
        limit = self.limit or 0
        kept = f"{limit}:{self.window_ms}:{self.send_ms}:{self.guard_ms}"
        return asdict(self) | {"limit": limit, "kept": kept}
