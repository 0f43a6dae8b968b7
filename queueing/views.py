"""What can be seen of a queue. Nothing here changes it."""

import logging
from functools import cache
from typing import Any

from redis import Redis

from queueing.batches import BatchRecord
from queueing.foreign import END_MS, figure, figures
from queueing.keys import Keys
from queueing.models import DeadLetter, Hint, Item, Priority, Stats
from queueing.policy import Policy
from queueing.scripts import Scripts
from queueing.timings import Histogram, histograms
from queueing.wire import MAX_STEP, dead_letter, in_steps, rows_of, text_of

log = logging.getLogger(__name__)

PEEKED_AT_MOST = 5000
_LISTED = 1000


class QueueView:
    """Reads a queue: sizes, listings, records of batches and dead letters."""

    def __init__(
        self, redis: Redis, policy: Policy, *, keys: Keys | None = None, now_ms: int | None = None
    ) -> None:
        self.redis = redis
        self.policy = policy
        self.keys = keys or Keys()
        self.now_ms = now_ms
        """Replaces Redis' clock when set: for tests and simulations."""
        self._scripts = Scripts(redis, self.keys)

    def _run(self, script: str, **arguments: Any) -> Any:
        return self._scripts.run(script, self.policy, self.now_ms, **arguments)

    @property
    def size(self) -> int:
        """The number of symbols that are queued, delayed or leased."""
        return int(self.redis.scard(self.keys.pending))

    def pending(self) -> list[str]:
        """Every symbol that is queued, delayed or leased, in no order."""
        return sorted({text_of(s) for s in self.redis.sscan_iter(self.keys.pending, count=_LISTED)})

    def clock_ahead_ms(self) -> int:
        """By how much scores in Redis are ahead of its clock, because that stepped back; negative:
        behind, because it stepped forward."""
        ahead: Any = self.redis.hget(self.keys.quota, "clock_ahead")
        return figure(ahead, least=-END_MS) or 0

    def peek(self, count: int = 1) -> list[Item]:
        """The next items in the order in which calls would take them, at most 5,000.

        Many are read in several steps, between which the queue may change.
        """
        items: list[Item] = []
        skip = [0] * len(Priority)
        left = min(max(1, count), PEEKED_AT_MOST)
        while left > 0:
            step = min(left, MAX_STEP)
            reply = self._run("peek", n=step, skip=skip)
            items += [Item.from_reply(raw) for raw in rows_of(reply["items"])]
            if sum(reply["skip"]) - sum(skip) < step:
                break
            skip = reply["skip"]
            left -= step
        return items

    def stats(self) -> Stats:
        """The queue in numbers. The oldest item is that of all bands, not the most urgent one."""
        reply = self._run("stats")
        oldest = reply.get("oldest_enqueued_at_ms")
        return Stats(
            queued=dict(zip(Priority, rows_of(reply["queued"]), strict=True)),
            delayed=reply["delayed"],
            leased=reply["leased"],
            dead=reply["dead"],
            pending=reply["pending"],
            oldest_item_age_seconds=max(0, reply["now_ms"] - oldest) / 1000 if oldest else 0.0,
            hint=Hint.from_reply(reply),
        )

    def histograms(self) -> list[Histogram]:
        """Wait, call and batch time since the counters began."""
        fields: Any = self.redis.hgetall(self.keys.timings)
        return histograms(figures(fields))

    def next_at(self) -> Hint:
        """When a claim can next be answered differently."""
        return Hint.from_reply(self._run("next_at"))

    def dead(self) -> list[DeadLetter]:
        """The dead letters, oldest first."""
        order: list[Any] = list(self.redis.zrange(self.keys.dead, 0, -1))
        found: list[DeadLetter | None] = []
        for symbols in in_steps([text_of(symbol) for symbol in order], _LISTED):
            texts: Any = self.redis.hmget(self.keys.dead_items, symbols) if symbols else []
            found += map(dead_letter, symbols, texts)
        return [letter for letter in found if letter]

    def batch_enqueued(self, slot: str) -> bool:
        """Was the batch of this slot begun, and all of it asked for?"""
        return bool(self.redis.hexists(self.keys.batch_records, f"{slot}:enqueued_at_ms"))

    def batch_record(self, slot: str) -> BatchRecord | None:
        """What became of one batch; None if it was not begun or is long gone."""
        return next(iter(self._records(slot=slot)), None)

    def batches(self, count: int = 1) -> list[BatchRecord]:
        """The records of the newest batches, newest first, in two round trips."""
        return self._records(count=count)

    def _records(self, **which: Any) -> list[BatchRecord]:
        flat = iter(self._run("records", **which))
        rows = [row for row in zip(*[flat] * 5, strict=True) if row[1]]
        read = [BatchRecord.read(text_of(slot), head, figures) for slot, head, *figures in rows]
        records = [record for record in read if record]
        if len(records) < len(rows):
            _tell_spoilt(self.keys.batch_records)
        pipe = self.redis.pipeline(transaction=False)
        for record in records:
            names = [f"{record.slot}:outcome:{symbol}" for symbol in record.assets]
            pipe.hmget(self.keys.batch_records, names or ["none"])
        return [
            record.with_outcomes(texts)
            for record, texts in zip(records, pipe.execute(), strict=True)
        ]


@cache
def _tell_spoilt(key: str) -> None:
    """Once in a process."""
    log.warning("%s: what another program wrote there cannot be read, and is left out", key)
