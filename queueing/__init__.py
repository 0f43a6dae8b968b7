"""A priority queue with leases under an exact quota, on Redis. Independent of what it queues."""

from queueing.batches import Batch, BatchOutcome, BatchRecord
from queueing.calls import Ending
from queueing.errors import InvalidRequest, LeaseLost, PolicyMismatch, QueueingError
from queueing.keys import Keys
from queueing.limiter import Breaker, Grant, Permit, QuotaLimiter, QuotaStatus
from queueing.models import (
    Claimed,
    DeadLetter,
    Death,
    Enqueued,
    Hint,
    Item,
    NotNow,
    Outcome,
    Priority,
    Request,
    Stats,
)
from queueing.policy import Policy
from queueing.queue import PriorityQueue
from queueing.timings import BOUNDS_MS, Histogram, histograms
from queueing.verdicts import Again, Bury, Done, GiveBack, Retry, Verdict, split
from queueing.waiting import wake_drain

__all__ = [
    "BOUNDS_MS",
    "Again",
    "Batch",
    "BatchOutcome",
    "BatchRecord",
    "Breaker",
    "Bury",
    "Claimed",
    "DeadLetter",
    "Death",
    "Done",
    "Ending",
    "Enqueued",
    "GiveBack",
    "Grant",
    "Hint",
    "Histogram",
    "InvalidRequest",
    "Item",
    "Keys",
    "LeaseLost",
    "NotNow",
    "Outcome",
    "Permit",
    "Policy",
    "PolicyMismatch",
    "Priority",
    "PriorityQueue",
    "QueueingError",
    "QuotaLimiter",
    "QuotaStatus",
    "Request",
    "Retry",
    "Stats",
    "Verdict",
    "histograms",
    "split",
    "wake_drain",
]
