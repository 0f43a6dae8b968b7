"""Pending items with what is expected of each, in one look."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from health.expected import Expected
from health.facts import Facts
from health.forecast import forecast
from health.outlook import Outlook
from health.waits import Listed, listing
from queueing.views import PEEKED_AT_MOST
from runtime.context import Context

SEEN_AHEAD = 1_000
"""Items that are read at least: those that are not shown may go before those that are."""


@dataclass(frozen=True)
class Pending:
    """Items, leased ones first, then queued, then delayed ones; and the forecast of each."""

    now_ms: int
    listed: Sequence[Listed]
    expected: Mapping[str, Expected]

    @classmethod
    def look(cls, context: Context, facts: Facts, count: int = PEEKED_AT_MOST) -> "Pending":
        """Read the first `count` of them, 5,000 queued ones at most. Raises RedisError."""
        listed = listing(context.queue, max(count, SEEN_AHEAD))
        outlook = Outlook.read(context, facts)
        return cls(outlook.quota.now_ms, listed[:count], forecast(listed, outlook))

    def of(self, symbol: str) -> Expected:
        """What is expected of an item; unknown for one that is not among those read."""
        return self.expected.get(symbol, Expected(None, None))

    def as_dict(self, one: Listed) -> dict[str, Any]:
        """An item with stable keys, for JSON."""
        return one.as_dict(self.now_ms) | self.of(one.item.symbol).as_dict()
