"""What can go wrong with the queue and the quota."""


class QueueingError(Exception):
    """The queue refused the operation."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or type(self).__doc__)


class LeaseLost(QueueingError):
    """The lease ended before the work did: somebody else may have the item now."""

    def __init__(self, symbols: list[str]) -> None:
        self.symbols = symbols
        super().__init__(f"lease lost for {', '.join(symbols)}: it expired or was taken over")


class InvalidRequest(QueueingError):
    """The request to the queue is malformed."""
