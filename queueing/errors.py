"""What can go wrong with the queue and the quota."""

from queueing.policy import Policy


class QueueingError(Exception):
    """The queue refused the operation."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class LeaseLost(QueueingError):
    """The lease ended before the work did: another worker may have the item now."""

    def __init__(self, symbols: list[str]) -> None:
        self.symbols = symbols
        super().__init__(f"lease lost for {', '.join(symbols)}: it expired or was taken over")


class PolicyMismatch(QueueingError):
    """The quota is kept by other rules than those of this process."""

    def __init__(self, kept: Policy, own: Policy, until_ms: int) -> None:
        self.kept = kept
        self.own = own
        self.until_ms = until_ms
        """The own rules apply from then on (Redis' clock), if no call by the others goes before."""
        super().__init__(
            f"the quota is kept for {kept.counted}, but this process is set to {own.counted}: set "
            "POLYGON_TIER, POLYGON_RATE_LIMIT and RATE_WINDOW_SECONDS alike in all processes and "
            "restart them. The new rules apply when the last call by the old ones counts no more, "
            "or at once after `assetq limiter reset`"
        )


class InvalidRequest(QueueingError):
    """The request to the queue is malformed."""
