"""The priority queue: dedup, leases, retries and dead letters, under one quota."""

import json
import secrets
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from redis import Redis

from queueing.errors import InvalidRequest, LeaseLost
from queueing.keys import Keys
from queueing.models import (
    Batch,
    BatchRecord,
    Claimed,
    DeadLetter,
    Done,
    Enqueued,
    Hint,
    Item,
    NotNow,
    Outcome,
    Priority,
    Request,
    Stats,
    Verdict,
)
from queueing.policy import Policy
from queueing.scripts import Scripts
from queueing.waiting import blocking_pop
from queueing.wire import (
    MAX_LEASE_MS,
    batch_args,
    checked_priority,
    checked_span,
    checked_symbol,
    dead_letter,
    rows_of,
    text_of,
    verdict_args,
)

ITEM_VERSION = 1
"""Raise it when an item's payload or fields mean something that today's workers would misread;
they then leave such items alone. Fields that they may ignore need no new version."""
_DAY_MS = 24 * 3600 * 1000
MAX_STEP = 5000


class PriorityQueue:
    """Items by priority, first in first out within one, at most once each.

    Every change is one script: it happens whole or not at all, also when the caller dies. An item
    that was claimed and whose call was never ended comes back when its lease ends.
    Costs O(log n) per item in a queue of n, whatever is pending.
    """

    item_version = ITEM_VERSION

    def __init__(
        self,
        redis: Redis,
        policy: Policy,
        *,
        keys: Keys | None = None,
        max_size: int = 1000,
        lease_ms: int = 30_000,
        poison_after: int = 3,
        invalid_ms: int = _DAY_MS,
        stream_max: int = 10_000,
        now_ms: int | None = None,
    ) -> None:
        checked_span("lease_ms", lease_ms, 1, MAX_LEASE_MS)
        self.redis = redis
        self.policy = policy
        self.keys = keys or Keys()
        self.max_size = max_size
        self.lease_ms = lease_ms
        self.poison_after = poison_after
        self.invalid_ms = invalid_ms
        self.stream_max = stream_max
        self.now_ms = now_ms
        """Replaces Redis' clock when set: for tests and simulations."""
        self._scripts = Scripts(redis, self.keys)

    def _run(self, script: str, *, slot: str | None = None, **arguments: Any) -> Any:
        return self._scripts.run(
            script, slot=slot, policy=self.policy.as_args(), now_ms=self.now_ms, **arguments
        )

    def enqueue(
        self,
        requests: Iterable[Request],
        priority: int = Priority.MEDIUM,
        *,
        revive: bool = False,
        batch: Batch | None = None,
    ) -> Enqueued:
        """Asks for items, in the given order, in one step (beyond 5,000: in steps of so many).

        A symbol that is pending keeps the more urgent of both requests. `revive` also takes back
        dead ones that would otherwise rest. `batch` begins its record in the same step, once.
        A full queue refuses new items that are not critical; the reply names them.
        Raises InvalidRequest for a malformed symbol or priority, before anything is done.
        """
        items = [
            {
                "symbol": checked_symbol(r.symbol),
                "payload": json.dumps(dict(r.payload)),
                **({"solo": True} if r.solo else {}),
            }
            for r in requests
        ]
        checked_priority(priority)
        step = len(items) if batch else MAX_STEP
        parts = [items[at : at + step] for at in range(0, len(items), step or 1)] or [[]]
        replies = [self._ask(part, priority, revive, batch) for part in parts]
        results = tuple(row for reply in replies for row in reply.results)
        return replace(replies[-1], results=results)

    def _ask(
        self, items: list[dict[str, Any]], priority: int, revive: bool, batch: Batch | None
    ) -> Enqueued:
        reply = self._run(
            "enqueue",
            slot=batch.slot if batch else None,
            items=items,
            priority=int(priority),
            max_size=self.max_size,
            version=self.item_version,
            revive=revive,
            invalid_ms=self.invalid_ms,
            batch=batch_args(batch) if batch else None,
        )
        if reply.get("exists"):
            return Enqueued((), reply["now_ms"], self.size, waiting=False, exists=True)
        results = tuple(
            (row[0], Outcome(row[1]), row[2] if len(row) > 2 else None)
            for row in rows_of(reply["results"])
        )
        return Enqueued(results, reply["now_ms"], reply["size"], reply["waiting"])

    def mark(self) -> str:
        """Leaves a mark that a flush, restart or failover of Redis wipes out.

        Whoever learns *after* it, elsewhere, that nobody has called for longer than a window may
        claim with it: then a server that knows nothing need not hold the first call back.
        """
        return self._scripts.mark(self.policy, self.now_ms)

    def claim(
        self,
        *,
        who: str = "worker",
        max_items: int = 1,
        drain: str | None = None,
        max_wait_ms: int | None = None,
        idle_mark: str | None = None,
    ) -> Claimed | NotNow:
        """Takes the call that is free now, and leases the most urgent item(s) to it.

        `who` begins the token, so that listings say whose call it is. `drain` names a drain that
        will wait if there is nothing to do yet. `idle_mark` is what `mark` returned, if it was
        learned after it that nobody had called for longer than a window.
        """
        if max_items < 1:
            raise InvalidRequest(f"max_items {max_items}: at least 1")
        reply = self._run(
            "claim",
            token=f"{who}:{secrets.token_hex(6)}",
            lease_ms=self.lease_ms,
            max_items=max_items,
            poison_after=self.poison_after,
            version=self.item_version,
            drain=drain,
            max_wait_ms=max_wait_ms,
            idle_mark=idle_mark,
        )
        self._tell_batches(reply)
        hint = Hint.from_reply(reply)
        if reply["status"] != "granted":
            return NotNow(hint, reply.get("held_by"))
        return Claimed(
            token=reply["token"],
            items=tuple(Item.from_reply(raw) for raw in reply["items"]),
            granted_at_ms=reply["now_ms"],
            send_by_ms=reply["send_by_ms"],
            lease_until_ms=reply["lease_until_ms"],
            hint=hint,
        )

    def end(
        self,
        claimed: Claimed,
        verdicts: Sequence[Verdict],
        *,
        answered: bool,
        sent: bool = True,
        failed: bool | None = None,
        drain: str | None = None,
        max_wait_ms: int | None = None,
    ) -> Hint:
        """Ends a call: each of its items gets a verdict, and events are published, in one step.

        `answered`: an HTTP response came, so the call's permit ends one window from now at most.
        `sent`: the request may have left this machine; without an answer its permit then lasts
        one window from now at least. `failed`: True if the call failed for reasons that are not
        its items', False if it showed that calls work (as any `Done` does), None if it shows
        nothing. Failures in a row open the circuit breaker; while it is open, what would be
        retried or buried as transient comes back unchanged.
        Raises LeaseLost with the symbols that are no longer this claim's; the others are ended.
        """
        if failed is None and any(isinstance(verdict, Done) for verdict in verdicts):
            failed = False
        return self._finish(
            claimed,
            [verdict_args(verdict) for verdict in verdicts],
            sent=sent,
            answered=answered,
            failed=failed,
            drain=drain,
            max_wait_ms=max_wait_ms,
            stream_max=self.stream_max,
        )

    def _finish(
        self,
        claimed: Claimed,
        rows: list[dict[str, Any]],
        **arguments: Any,
    ) -> Hint:
        """Calls the script once per batch record; nearly always that is once."""
        slots = {item.symbol: item.batch for item in claimed.items}
        lost: list[str] = []
        hint: Hint | None = None
        while rows or hint is None:
            slot = next((s for row in rows if (s := slots.get(row["symbol"]))), None)
            now = [row for row in rows if slots.get(row["symbol"]) in (None, slot)]
            reply = self._run(
                "end",
                slot=slot,
                token=claimed.token,
                granted_at_ms=claimed.granted_at_ms,
                verdicts=now,
                **arguments,
            )
            if "slot" in reply:  # joined another batch while it was leased: that record, then
                slots[reply["symbol"]] = reply["slot"]
                continue
            arguments.pop("failed", None)  # one call fails once, whatever it carried
            rows = [row for row in rows if row not in now]
            lost += rows_of(reply["lost"])
            hint = Hint.from_reply(reply)
        if lost:
            raise LeaseLost(lost)
        return hint

    def cancel(self, symbols: Iterable[str]) -> int:
        """Takes requests back unless they are being worked on; returns how many were."""
        return int(self._run("cancel", symbols=list(symbols)))

    def pending(self) -> list[str]:
        """Every symbol that is queued, delayed or leased, in no order."""
        return [text_of(symbol) for symbol in self.redis.smembers(self.keys.pending)]

    def extend(self, claimed: Claimed, *, lease_ms: int | None = None) -> int:
        """Prolongs the lease from now on; returns its new end. Raises LeaseLost."""
        checked_span("lease_ms", lease_ms or self.lease_ms, 1, MAX_LEASE_MS)
        symbols = [item.symbol for item in claimed.items]
        reply = self._run(
            "extend", token=claimed.token, symbols=symbols, lease_ms=lease_ms or self.lease_ms
        )
        if lost := rows_of(reply["lost"]):
            raise LeaseLost(lost)
        return int(reply["lease_until_ms"])

    def reap(self) -> Hint:
        """Takes back expired leases and due items (a few hundred at most)."""
        reply = self._run("reap", poison_after=self.poison_after)
        self._tell_batches(reply)
        return Hint.from_reply(reply)

    def _tell_batches(self, reply: Any) -> None:
        """Poison that a reap found fails in the record of its batch, which is a key of its own.

        Whoever dies before this leaves an asset without outcome, as one that nobody refreshed.
        """
        for symbol, slot, error in rows_of(reply.get("poisoned")):
            self._run("outcome", slot=slot, failed=[[symbol, error]])

    def next_at(self) -> Hint:
        """When a claim can next be answered differently. Changes nothing."""
        return Hint.from_reply(self._run("next_at"))

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
        pipe = self.redis.pipeline(transaction=True)
        pipe.lpush(self.keys.wake, "look")
        pipe.ltrim(self.keys.wake, 0, 7)
        pipe.pexpire(self.keys.wake, 60_000)
        pipe.execute()

    def peek(self, count: int = 1) -> list[Item]:
        """The next items in the order in which calls would take them, at most 5,000.

        Changes nothing. Bounded, because Redis does nothing else meanwhile.
        """
        reply = self._run("peek", n=min(max(1, count), MAX_STEP))
        return [Item.from_reply(raw) for raw in rows_of(reply.get("items"))]

    @property
    def size(self) -> int:
        """How many symbols are queued, delayed or leased."""
        return int(self.redis.scard(self.keys.pending))

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

    def batch_record(self, slot: str) -> BatchRecord | None:
        """What became of one batch; None if it was not begun or is long gone."""
        raw = self.redis.hgetall(self.keys.batch(slot))
        if not raw:
            return None
        return BatchRecord.from_hash({text_of(k): text_of(v) for k, v in raw.items()})

    def batches(self, count: int = 1) -> list[BatchRecord]:
        """The records of the newest batches, newest first."""
        slots = [text_of(s) for s in self.redis.zrevrange(self.keys.batches, 0, count - 1)]
        return [record for slot in slots if (record := self.batch_record(slot))]

    def dead(self) -> list[DeadLetter]:
        """The dead letters, oldest first."""
        order = [text_of(s) for s in self.redis.zrange(self.keys.dead, 0, -1)]
        raw = self.redis.hgetall(self.keys.dead_items)
        letters = {text_of(symbol): value for symbol, value in raw.items()}
        found = [dead_letter(symbol, letters.get(symbol)) for symbol in order]
        return [letter for letter in found if letter]

    def drop_dead(self, symbols: Sequence[str]) -> int:
        """Removes dead letters; returns how many there were."""
        return int(self._run("dead_drop", symbols=list(symbols)))
