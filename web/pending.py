"""The forecast of what waits, kept for a moment: with thousands of items it costs a page much."""

import threading
import time

from health.facts import Facts
from health.observe import Observer
from health.pending import SEEN_AHEAD, Pending

KEPT_S = 2.0


class PendingView:
    """Keeps the forecast of one process; its threads share it."""

    def __init__(self, observer: Observer) -> None:
        self._context = observer.context
        self._making = threading.Lock()
        self._made_at = float("-inf")
        self._found: Pending | None = None

    def look(self, facts: Facts) -> Pending:
        """Return what waits and when it is expected, at most two seconds old. Raises RedisError."""
        with self._making:
            if self._found is None or time.monotonic() - self._made_at > KEPT_S:
                self._found = Pending.look(self._context, facts, SEEN_AHEAD)
                self._made_at = time.monotonic()
            return self._found

    def forget(self) -> None:
        """Look anew next time: something was changed by hand."""
        self._made_at = float("-inf")
