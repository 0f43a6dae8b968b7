"""The batches of priority assets, and what became of each asset of theirs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from queueing import BatchOutcome, BatchRecord, PriorityQueue

KEPT_BATCHES = 100
"""The most batch records that are read: more than an hour's, at one a minute."""
SUPERSEDED = "not refreshed before the next batch began"


@dataclass(frozen=True)
class SettledBatch:
    """A batch with every outcome that is known or can be inferred."""

    record: BatchRecord
    outcomes: Mapping[str, BatchOutcome]
    """By symbol. Only the newest batches have assets without an outcome: it is still to come."""

    @property
    def failed(self) -> list[tuple[str, str]]:
        """Assets that are not fresh, each with its error; includes those that wait for a retry."""
        rows = [(s, self.outcomes[s]) for s in self.record.assets if s in self.outcomes]
        return [(s, o.error or o.status) for s, o in rows if not o.ok]

    @property
    def known(self) -> bool:
        """True if every asset has an outcome."""
        return all(symbol in self.outcomes for symbol in self.record.assets)


def by_hand(record: BatchRecord) -> bool:
    """True for a batch that `assetq batch` began; scheduled ones are named by their slot."""
    return not record.slot.isdigit()


def settled(records: Sequence[BatchRecord]) -> list[SettledBatch]:
    """Return the batches, newest first, with an outcome for each asset that can have none any more.

    An asset that was open when the next scheduled batch began has failed, because that batch asks
    for it anew. A batch by hand shares the request with its neighbours: the later record has the
    outcome.
    """
    newest_first = sorted(records, key=lambda r: (r.started_at_ms, r.planned_at_ms), reverse=True)
    return [
        SettledBatch(record, _outcomes(record, newest_first[:position]))
        for position, record in enumerate(newest_first)
    ]


def _outcomes(record: BatchRecord, later: Sequence[BatchRecord]) -> dict[str, BatchOutcome]:
    found = dict(record.outcomes)
    for symbol in record.assets:
        if symbol not in found and (outcome := _inherited(symbol, record, later)):
            found[symbol] = outcome
    return found


def _inherited(
    symbol: str, record: BatchRecord, later: Sequence[BatchRecord]
) -> BatchOutcome | None:
    for follower in reversed(later):
        if not (by_hand(record) or by_hand(follower)):
            return BatchOutcome("failed", SUPERSEDED, follower.started_at_ms)
        if symbol in follower.outcomes:
            return follower.outcomes[symbol]
        record = follower
    return None


def recent_batches(queue: PriorityQueue, count: int = KEPT_BATCHES) -> list[SettledBatch]:
    """Return the newest batches, newest first. Raises RedisError."""
    return settled(queue.batches(count))


def last_update_ms(batches: Sequence[SettledBatch], now_ms: int) -> int | None:
    """When one of these batches last left an asset as fresh as it can be; None: never."""
    outcomes = [o for batch in batches for o in batch.outcomes.values() if o.ok]
    return max((o.at_ms for o in outcomes if o.at_ms and o.at_ms <= now_ms), default=None)
