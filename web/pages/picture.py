"""The window as a picture: where each permit, hold and reservation lies on the axis of time.

Positions are percentages of the width, so that the text of the picture keeps its size on any
screen.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from health.facts import State
from health.texts import span
from health.window import HeldPermit
from queueing import Policy, QuotaStatus

MOST_ROWS = 12
ROW = 38
TOP = 22


@dataclass(frozen=True)
class Stretch:
    """A piece of the axis."""

    x: float
    width: float
    kind: str
    text: str = ""


@dataclass(frozen=True)
class Row:
    """One place of the window."""

    y: int
    text: str
    stretches: tuple[Stretch, ...]
    until_ms: int | None = None
    """When the call that holds this place stops counting; None: the place is free."""

    @property
    def free(self) -> bool:
        """No call holds it."""
        return self.until_ms is None


@dataclass(frozen=True)
class Tick:
    """A label of the axis."""

    x: float
    text: str
    anchor: str


@dataclass(frozen=True)
class Picture:
    """Everything that the template draws."""

    rows: tuple[Row, ...]
    bands: tuple[Stretch, ...]
    ticks: tuple[Tick, ...]
    now_x: float
    height: int
    hidden: int
    """Places that are not drawn."""


@dataclass(frozen=True)
class Axis:
    """From `first_ms` to `last_ms`, as 0 to 100."""

    first_ms: int
    last_ms: int

    def x(self, ms: float) -> float:
        """The position of an instant, cut at both ends."""
        share = (ms - self.first_ms) / (self.last_ms - self.first_ms)
        return round(100 * min(1.0, max(0.0, share)), 2)

    def stretch(self, from_ms: float, to_ms: float, kind: str, text: str = "") -> Stretch:
        """The piece between two instants."""
        x = self.x(from_ms)
        return Stretch(x, round(max(0.0, self.x(to_ms) - x), 2), kind, text)


def draw(state: State, held: Sequence[HeldPermit], policy: Policy) -> Picture:
    """Draw the window as it stands; only for a plan with a limit."""
    quota = state.quota
    now, window = quota.now_ms, policy.window_ms
    axis = Axis(now - round(1.15 * window), now + round(1.15 * window))
    limit = quota.limit or 0
    drawn = min(limit, MOST_ROWS)
    used = held[:drawn]
    kept = _kept_rows(quota, [place.permit.until_ms for place in used], drawn, axis)
    rows = [
        _row(number, used[number] if number < len(used) else None, quota, policy, axis, kept)
        for number in range(drawn)
    ]
    shares = (-1, -0.5, 0, 0.5, 1)
    ticks = tuple(
        Tick(
            axis.x(now + share * window),
            "now"
            if not share
            else f"{'−' if share < 0 else '+'}{span(abs(share) * window / 1000)}",
            "middle",
        )
        for share in shares
    )
    return Picture(
        tuple(rows),
        tuple(_bands(state, axis)),
        ticks,
        axis.x(now),
        TOP + drawn * ROW + 24,
        limit - drawn,
    )


def _distance(seconds: float) -> str:
    sign = "−" if seconds < 0 else "+"
    return f"{sign}{span(abs(seconds))}" if seconds else "now"


def _row(
    number: int,
    place: HeldPermit | None,
    quota: QuotaStatus,
    policy: Policy,
    axis: Axis,
    kept: set[int],
) -> Row:
    y, now = TOP + number * ROW, quota.now_ms
    until = place.permit.until_ms if place else now
    stretches = []
    if place:
        longest = policy.send_ms + policy.window_ms + policy.guard_ms
        began = place.began_ms or until - longest
        answered = place.answered_ms or (now if place.state == "in flight" else began)
        flight = "flight" if place.state == "in flight" else "call"
        stretches.append(axis.stretch(began, until, "counted"))
        stretches.append(axis.stretch(began, max(answered, began + 400), flight))
    if number in kept:
        stretches.append(axis.stretch(max(now, until), quota.batch_at_ms, "kept"))
    return Row(y, _words(place, number in kept), tuple(stretches), until if place else None)


def _words(place: HeldPermit | None, kept: bool) -> str:
    if place is None:
        return "kept for the batch" if kept else "free"
    name = place.assets or place.permit.who
    return f"{name}: {place.state}"


def _kept_rows(quota: QuotaStatus, ends: Sequence[int], drawn: int, axis: Axis) -> set[int]:
    """The places that the next batch is to find free: those that are free the soonest."""
    if not quota.batch_calls or not quota.now_ms < quota.batch_at_ms <= axis.last_ms:
        return set()
    free = [*range(len(ends), drawn)]
    soonest = sorted(range(len(ends)), key=lambda number: ends[number])
    before = [number for number in soonest if ends[number] <= quota.batch_at_ms]
    return set([*free, *before][: quota.batch_calls])


def _bands(state: State, axis: Axis) -> list[Stretch]:
    quota, now = state.quota, state.quota.now_ms
    found = []
    if quota.blocked_until_ms > now:
        since = state.blocked_since_ms or now
        found.append(axis.stretch(since, quota.blocked_until_ms, "blocked", "blocked"))
    if quota.breaker.open:
        probe = max(quota.breaker.probe_at_ms, now)
        found.append(axis.stretch(quota.breaker.since_ms, probe, "breaker", "circuit breaker open"))
    if quota.hold_until_ms > now:
        found.append(axis.stretch(axis.first_ms, quota.hold_until_ms, "hold", "hold"))
    return found
