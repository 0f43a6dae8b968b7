"""The lease of one call: prolonged while the work goes on, and known when it is lost."""

from market.deadline import boottime_s
from queueing import Claimed, LeaseLost, PriorityQueue


class Lease:
    """How long the items of a call are its own.

    The clock also counts while the process is stopped or the machine suspended: one that wakes up
    after that asks Redis before it writes anything.
    """

    def __init__(self, queue: PriorityQueue, claimed: Claimed, *, since_s: float) -> None:
        """`since_s`: on `boottime_s`, from before the claim was sent."""
        self._queue = queue
        self._claimed = claimed
        self._half_s = (claimed.lease_until_ms - claimed.granted_at_ms) / 2000
        self._renew_at_s = since_s + self._half_s
        self._lost: frozenset[str] = frozenset()

    def lost(self) -> frozenset[str]:
        """Prolongs the lease if half of it is spent; the symbols that are no longer this call's.

        Asks Redis only then, so an ordinary call pays nothing. Raises RedisError.
        """
        now_s = boottime_s()
        if now_s >= self._renew_at_s:
            self._renew_at_s = now_s + self._half_s
            try:
                self._queue.extend(self._claimed)
            except LeaseLost as error:
                self._lost |= frozenset(error.symbols)
        return self._lost
