"""The priority queue: dedup, leases, retries and dead letters, under one quota."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from redis import Redis

from queueing.batches import Batch
from queueing.calls import Calls
from queueing.keys import Keys
from queueing.models import DeadLetter, Death, Enqueued, Hint, Priority, Request
from queueing.policy import Policy
from queueing.waiting import blocking_pop, wake_drain
from queueing.wire import (
    MAX_LEASE_MS,
    batch_args,
    checked_batch,
    checked_priority,
    checked_span,
    checked_symbol,
    in_steps,
    outcomes,
    payload_text,
    text_of,
)

_DAY_MS = 24 * 3600 * 1000


class PriorityQueue(Calls):
    """Items by priority, first in first out within one, at most once each.

    Every change is one script: it happens whole or not at all, also when the caller dies. An item
    that was claimed and whose call was never ended comes back when its lease ends.
    Costs O(log n) per item in a queue of n, whatever is pending.
    """

    def __init__(
        self,
        redis: Redis,
        policy: Policy,
        *,
        keys: Keys | None = None,
        max_size: int | Callable[[], int] = 1000,
        lease_ms: int = 30_000,
        poison_after: int = 3,
        invalid_ms: int = _DAY_MS,
        rest_ms: int = 300_000,
        longest_rest_ms: int = 3_600_000,
        stream_max: int = 10_000,
        now_ms: int | None = None,
    ) -> None:
        checked_span("lease_ms", lease_ms, 1, MAX_LEASE_MS)
        super().__init__(redis, policy, keys=keys, now_ms=now_ms)
        self._max_size = max_size
        self.lease_ms = lease_ms
        self.poison_after = poison_after
        self.stream_max = stream_max
        self.invalid_ms = invalid_ms
        self.rest_ms = rest_ms
        """An item that dies of spent retries twice, with no refresh between, rests so long; then
        it has one attempt, and each further death doubles the rest up to `longest_rest_ms`."""
        self.longest_rest_ms = longest_rest_ms

    @property
    def max_size(self) -> int:
        """How many items there may be before a new one that is not critical is refused."""
        return self._max_size() if callable(self._max_size) else self._max_size

    def enqueue(
        self,
        requests: Iterable[Request],
        priority: int = Priority.MEDIUM,
        *,
        revive: bool = False,
        batch: Batch | None = None,
    ) -> Enqueued:
        """Asks for items, in the given order, in one step (beyond 100: in steps of 100).

        A symbol that is pending keeps the more urgent of both requests. `revive` also takes back
        dead ones that would otherwise rest. `batch` begins its record in the same step, once; if
        this process dies between two steps of a large one, asking again goes on with it.
        A full queue refuses new items that are not critical; the reply names them.
        Raises InvalidRequest for a malformed symbol, priority or batch, before anything is done.
        """
        items = [(checked_symbol(r.symbol), payload_text(r.payload), r.solo) for r in requests]
        checked_priority(priority)
        if batch:
            checked_batch(batch, [symbol for symbol, _, _ in items])
        parts = list(in_steps(items))
        replies = []
        for number, part in enumerate(parts, 1):
            last = number == len(parts)
            about = batch_args(batch, first=number == 1, last=last) if batch else None
            replies.append(self._ask(part, priority, revive, about))
            if replies[-1].exists:
                return replies[-1]
        if len(replies) == 1:
            return replies[0]
        results = tuple(row for reply in replies for row in reply.results)
        return replace(replies[-1], results=results)

    def _ask(
        self,
        items: Sequence[tuple[str, str, bool]],
        priority: int,
        revive: bool,
        batch: dict[str, Any] | None,
    ) -> Enqueued:
        reply = self._run(
            "enqueue",
            items=[value for item in items for value in item],
            priority=int(priority),
            max_size=self.max_size,
            version=self.item_version,
            revive=revive,
            rest={
                "invalid_ms": self.invalid_ms,
                "first_ms": self.rest_ms,
                "longest_ms": self.longest_rest_ms,
            },
            batch=batch,
        )
        now_ms, *rest = reply
        if not rest:
            return Enqueued((), now_ms, self.size, waiting=False, exists=True)
        size, waiting, letters, *reasons = rest
        results = outcomes([symbol for symbol, _, _ in items], text_of(letters), reasons)
        return Enqueued(results, now_ms, size, bool(waiting))

    def mark(self) -> str:
        """Leaves a mark that a flush, restart or failover of Redis wipes out.

        A process that learns *after* it, elsewhere, that no call was made for longer than a window
        may claim with it: then a server that knows nothing need not hold the first call back.
        """
        return self._scripts.mark(self.policy, self.now_ms)

    def cancel(self, symbols: Iterable[str]) -> int:
        """Takes requests back unless they are being worked on; returns how many were."""
        return sum(int(self._run("cancel", symbols=part)) for part in in_steps(list(symbols)))

    def reap(self) -> Hint:
        """Takes back expired leases and due items (a hundred of each at most)."""
        return Hint.from_reply(self._run("reap", poison_after=self.poison_after))

    def retire(self, drain: str) -> tuple[bool, Hint]:
        """A drain leaves; True if it had been woken just before and should look once more."""
        reply = self._run("retire", drain=drain)
        return bool(reply["woken"]), Hint.from_reply(reply)

    def wait(self, timeout_s: float, *, stop: Callable[[], bool] = lambda: False) -> bool:
        """Waits in place until there may be something to do; True: woken before the time.

        One command, however long; `stop` is asked several times a second and ends the wait.
        Raises RedisError if the server goes away or does not answer when the time is over.
        """
        pool = self.redis.connection_pool
        connection: Any = pool.get_connection()
        try:
            return blocking_pop(connection, self.keys.wake, max(0.001, timeout_s), stop)
        except BaseException:
            connection.disconnect()  # a reply may be under way
            raise
        finally:
            pool.release(connection)

    def wake(self) -> None:
        """Makes the waiting drain look up, whatever it waits for."""
        wake_drain(self.redis, self.keys, always=True, now_ms=self.now_ms)

    def rests_until_ms(self, letter: DeadLetter) -> int | None:
        """When a request may bring a dead letter back; None: only `revive` does."""
        again = letter.deaths - 1
        match letter.kind:
            case Death.POISON:
                return None
            case Death.INVALID:
                return letter.died_at_ms + self.invalid_ms
            case Death.TRANSIENT if again > 0:
                rest_ms: int = self.rest_ms << min(again - 1, 60)
                return letter.died_at_ms + min(self.longest_rest_ms, rest_ms)
        return letter.died_at_ms

    def drop_dead(self, symbols: Sequence[str]) -> int:
        """Removes dead letters; returns how many there were."""
        return sum(int(self._run("dead_drop", symbols=part)) for part in in_steps(symbols))
