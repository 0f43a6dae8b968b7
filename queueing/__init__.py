"""A priority queue with leases under an exact quota, on Redis. Knows nothing of what it queues."""

from queueing.errors import InvalidRequest, LeaseLost, QueueingError
from queueing.keys import Keys
from queueing.limiter import Breaker, Grant, Place, QuotaLimiter, QuotaStatus
from queueing.models import (
    Batch,
    BatchOutcome,
    BatchRecord,
    Bury,
    Claimed,
    DeadLetter,
    Death,
    Done,
    Enqueued,
    GiveBack,
    Hint,
    Item,
    NotNow,
    Outcome,
    Priority,
    Request,
    Retry,
    Stats,
    Verdict,
)
from queueing.policy import Policy
from queueing.queue import PriorityQueue

__all__ = [
    "Batch",
    "BatchOutcome",
    "BatchRecord",
    "Breaker",
    "Bury",
    "Claimed",
    "DeadLetter",
    "Death",
    "Done",
    "Enqueued",
    "GiveBack",
    "Grant",
    "Hint",
    "InvalidRequest",
    "Item",
    "Keys",
    "LeaseLost",
    "NotNow",
    "Outcome",
    "Place",
    "Policy",
    "Priority",
    "PriorityQueue",
    "QueueingError",
    "QuotaLimiter",
    "QuotaStatus",
    "Request",
    "Retry",
    "Stats",
    "Verdict",
]
