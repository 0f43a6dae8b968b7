"""Failpoints: named steps between which a process may die, so that a test can kill it at each.

In production `reached` reads one variable and returns. tests/integration/test_kill_points.py kills
a process at every failpoint, and fails for one without a test and for a function that changes
something and names none.
"""

from collections.abc import Callable
from enum import StrEnum


class Point(StrEnum):
    """A step: what has just happened, or is about to happen, to the work in hand."""

    # worker: the ticks
    BATCH_BEFORE = "a batch tick began, nothing is done"
    BATCH_BEGUN = "the batch is in the queue, its drain has not begun"
    BATCH_BEFORE_BARS = "the batch is in the queue, its bars are not"
    SECONDARY_ENQUEUED = "the secondary round is in the queue, its slot is not noted"
    SECONDARY_NOTED = "the secondary slot is noted, no drain is started"

    BARS_ENQUEUED = "the round of new bars is in the queue, its slot is not noted"
    BARS_NOTED = "the slot of new bars is noted, no drain is started"

    # worker: the drain
    CLAIM_BEFORE = "about to claim"
    CLAIMED = "a call is granted, its items are leased"
    WAIT_BEFORE = "this drain is the one that waits"
    RETIRE_BEFORE = "the drain is about to leave"
    RETIRED = "the drain has left, its successor is not started"

    # worker: one call
    SEND_BEFORE = "about to send the request"
    ANSWERED = "the answer is in hand"
    PROVIDER_TOLD = "what concerns every worker is told, the items are still leased"
    WRITE_BEFORE = "the lease was looked at, nothing is written yet"
    COMMIT_BEFORE = "rows are written, not committed"
    COMMITTED = "rows are committed, the items are still leased"
    END_BEFORE = "about to end the call, with a verdict per item"
    ENDED = "the call has ended, events are published"

    # scheduler
    LOCK_TAKEN = "the scheduler holds the lock"
    ENTRY_RESTORED = "a missing entry is restored"
    PUSH_BEFORE = "a tick is due and noted nowhere"
    PUSHED = "a tick is pushed, its entry still stands on the past slot"
    REARMED = "the entry stands on its next slot"
    REAPED = "leases are taken back, no drain is started"
    LOCK_KEPT = "the pass is done, the lock is held"


on_reached: Callable[[Point], None] | None = None
"""The listener; only a process of a test sets one."""


def reached(point: Point) -> None:
    """Report the step; does nothing unless a test listens."""
    if on_reached is not None:
        on_reached(point)
