"""The quota limiter, also usable without the queue."""

import secrets
from dataclasses import dataclass
from typing import Any

from redis import Redis

from queueing.errors import PolicyMismatch
from queueing.keys import Keys
from queueing.models import Hint
from queueing.policy import Policy
from queueing.scripts import Scripts
from queueing.wire import in_steps, text_of

MAX_BLOCK_MS = 24 * 3600 * 1000
LISTED_PERMITS = 100


@dataclass(frozen=True)
class Grant:
    """A permit for one call: it is sent before `send_by_ms` (Redis' clock) or not at all."""

    call_id: str
    granted_at_ms: int
    send_by_ms: int


@dataclass(frozen=True)
class Permit:
    """What a granted call holds as long as it counts."""

    call_id: str
    until_ms: int

    @property
    def who(self) -> str:
        """The caller, as its token begins."""
        return self.call_id.rpartition(":")[0]


@dataclass(frozen=True)
class Breaker:
    """The circuit breaker. While it is open no call goes but a probe now and then."""

    failures: int = 0
    """In a row, without any success."""
    since_ms: int = 0
    """When it opened; 0: it is closed."""
    probe_at_ms: int = 0
    """The next probe; while one is under way: when it is given up."""
    probing: bool = False
    reason: str | None = None
    """What the last failure said."""

    @property
    def open(self) -> bool:
        """No call goes."""
        return self.since_ms > 0


@dataclass(frozen=True)
class QuotaStatus:
    """The quota as it stands; instants in ms of Redis' clock, 0 for 'not set'."""

    limit: int | None
    permits: tuple[Permit, ...]
    """Those in use that end first, at most 100."""
    in_use: int
    free: int | None
    now_ms: int
    epoch_known: bool
    hold_until_ms: int
    blocked_until_ms: int
    blocked_reason: str | None
    batch_at_ms: int
    batch_calls: int
    urgent: tuple[int, str]
    """When the next urgent call may go, and what holds it until then."""
    background: tuple[int, str]
    waits_last_hour: int
    breaker: Breaker = Breaker()
    batch_interval_ms: int = 0
    calls_per_batch: float | None = None
    """The calls that the quota allows from batch to batch; None: no limit, or no batches."""
    mismatch: PolicyMismatch | None = None
    """The quota is kept by other rules than the caller's."""
    urgent_run: int = 0
    """Critical calls in a row while background work waited."""
    answer_ms: float = 0.0
    """How long a call lately took from its grant to its end, on average; 0: none was answered."""
    clock_ahead_ms: int = 0
    """By how much scores in Redis are ahead of its clock, because that stepped back; negative:
    behind, because it stepped forward."""

    @property
    def batch_fits(self) -> bool:
        """A batch can finish before the next one; else critical assets fall behind."""
        return self.calls_per_batch is None or self.batch_calls <= self.calls_per_batch


class QuotaLimiter:
    """An exact sliding log on Redis' clock: any `window_ms` holds at most `limit` arrivals.

    A call gets a permit when it is granted, and holds it until its answer + window, or, if none
    came, until the last moment at which it may have been sent + window. So nothing is refunded
    when a process dies, and a slow answer costs no quota. Costs O(log limit).

    Calls are known to Redis alone. A program that uses this without a drain notes them in
    PostgreSQL too (`ProviderRepository.note_call`, once a minute): else a Redis that is emptied
    meanwhile may be taken for one that no call went before.
    """

    def __init__(
        self,
        redis: Redis,
        policy: Policy,
        *,
        keys: Keys | None = None,
        now_ms: int | None = None,
    ) -> None:
        self.redis = redis
        self.policy = policy
        self.keys = keys or Keys()
        self.now_ms = now_ms
        self._scripts = Scripts(redis, self.keys)

    def _run(self, script: str, **arguments: Any) -> Any:
        return self._scripts.run(script, self.policy, self.now_ms, **arguments)

    def acquire(
        self, *, who: str = "caller", urgent: bool = False, idle_mark: str | None = None
    ) -> Grant | Hint:
        """Grants a call if one is free now; otherwise says when to ask again, and why."""
        call_id = f"{who}:{secrets.token_hex(6)}"
        reply = self._run("acquire", call_id=call_id, critical=urgent, idle_mark=idle_mark)
        now_ms, at_ms, *reason = reply
        return Hint(now_ms, at_ms, text_of(*reason)) if reason else Grant(call_id, now_ms, at_ms)

    def mark(self) -> str:
        """Leaves a mark; see PriorityQueue.mark."""
        return self._scripts.mark(self.policy, self.now_ms)

    def release(self, grant: Grant) -> None:
        """Tells that an HTTP answer to this call came. Never call it for a timeout."""
        self._run("settle", call_id=grant.call_id)

    def available(self) -> int | None:
        """How many permits are free now; None: the plan has no limit."""
        return self.status().free

    def consume(self, count: int = 1, *, who: str = "elsewhere") -> int:
        """Counts calls made elsewhere just now; returns how many permits are in use.

        Raises PolicyMismatch if the quota is kept by other rules.
        """
        in_use = 0
        for part in in_steps(range(count)):
            ids = [f"{who}:{secrets.token_hex(6)}" for _ in part]
            in_use = int(self._run("consume", call_ids=ids))
            if in_use < 0 and (mismatch := self.status().mismatch):
                raise mismatch
        return in_use

    def block(self, block_ms: int, reason: str, *, force: bool = False) -> int:
        """Let no call go for this long (at most a day); a longer block stands unless forced.

        Returns until when calls are blocked. `block(0, …, force=True)` lifts it.
        """
        return int(
            self._run(
                "block",
                block_ms=min(block_ms, MAX_BLOCK_MS),
                reason=reason,
                force=force,
            )
        )

    def reset(self) -> int:
        """Forgets all calls, blocks, holds and failures; returns how many permits were in use.

        Only right if no call was made within the last window. From then on the quota is kept by
        the caller's rules.
        """
        return int(self._run("reset"))

    def resume(self, run_id: str) -> bool:
        """Spares the hold after a restart of Redis in which nothing was lost.

        `run_id` is that of the server which ended, in order and with its data on disk. False, and
        nothing done, if the calls that are known are not that server's.
        """
        return bool(self._run("resume", epoch=run_id))

    def plan_batch(self, batch_at_ms: int, interval_ms: int, calls: int) -> None:
        """Keeps `calls` free for the batch at `batch_at_ms`; interval 0 ends the reservation."""
        self._run("plan_batch", batch_at_ms=batch_at_ms, interval_ms=interval_ms, calls=calls)

    def _mismatch(self, raw: dict[str, Any]) -> PolicyMismatch | None:
        if raw["policy_until_ms"] <= raw["now_ms"]:
            return None
        kept = self.policy.as_kept(raw["policy"])
        return PolicyMismatch(kept, self.policy, raw["policy_until_ms"])

    def status(self) -> QuotaStatus:
        """The whole state. Changes nothing."""
        raw = self._run("status", permits=LISTED_PERMITS)
        listed = iter(raw["permits"] or [])
        return QuotaStatus(
            limit=self.policy.limit,
            permits=tuple(
                Permit(call_id, int(at)) for call_id, at in zip(listed, listed, strict=True)
            ),
            in_use=raw["in_use"],
            free=None if self.policy.limit is None else raw["free"],
            now_ms=raw["now_ms"],
            epoch_known=raw["epoch_known"],
            hold_until_ms=raw["hold_until_ms"],
            blocked_until_ms=raw["blocked_until_ms"],
            blocked_reason=raw.get("blocked_reason"),
            batch_at_ms=raw["batch_at_ms"],
            batch_calls=int(raw["batch_calls"]),
            urgent=(raw["urgent"][0], raw["urgent"][1]),
            background=(raw["background"][0], raw["background"][1]),
            waits_last_hour=raw["waits_last_hour"],
            breaker=Breaker(**raw["breaker"]),
            batch_interval_ms=raw["batch_interval_ms"],
            calls_per_batch=self.policy.calls_within(raw["batch_interval_ms"]) or None,
            mismatch=self._mismatch(raw),
            urgent_run=int(raw["urgent_run"]),
            answer_ms=raw["answer_ms"],
            clock_ahead_ms=raw["clock_ahead_ms"],
        )
