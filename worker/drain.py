"""The drain: refreshes while calls are granted, and waits in place until the next one may be.

Level, not edge: what to do is read from the queue each time, so a lost wake-up costs a second (the
scheduler's pass) and a doubled one nothing. At most one drain waits per provider.
"""

import time
from dataclasses import dataclass

import structlog
from redis.exceptions import RedisError
from rq.timeouts import BaseTimeoutException

from db.errors import DatabaseError
from db.providers import ProviderRepository
from market.transport import SendDeadline
from queueing import Claimed, Hint
from runtime.context import Context
from runtime.failpoints import Point, reached
from runtime.stopping import StopFlag
from worker.batch import plan_changed
from worker.call import Asked, Call
from worker.capabilities import Capabilities
from worker.idle import prove_idle
from worker.provider_facts import lift_block_of_another_key
from worker.refresh import Refresher
from worker.resilience import hurry
from worker.ticks import Ticks

log = structlog.get_logger(__name__)

SLICE_S = 75.0
"""No call begins later. Long enough for a wait of one window, so that a full quota costs one
drain a window; the last call and RQ's time limit (JOB_TIMEOUT_S) leave room for no more."""
SUCCESSOR_WITHIN_MS = int(SLICE_S * 1000)
IN_VAIN_S, LONGEST_IN_VAIN_S = 0.05, 1.0
"""The pause after a claim in vain of what was said to be due, and its growth."""
SHORT_MS = 50
"""A wait that every drain spends in place: the spacing of calls on a plan without a limit."""
SLOW_S = 0.25
"""A drain whose calls take longer asks for help when more is free; the others are quick enough."""


@dataclass(frozen=True)
class Drained:
    """What one drain did, and why it ended: stop, slice, tick, another, empty, wait, version or
    error."""

    calls: int
    ended: str


class Drain:
    """One drain of one work-horse, on one connection to PostgreSQL and one HTTP session."""

    def __init__(
        self,
        context: Context,
        ticks: Ticks,
        refresher: Refresher,
        capabilities: Capabilities,
        *,
        name: str,
        stop: StopFlag,
        slice_s: float = SLICE_S,
        patient: bool = True,
    ) -> None:
        """A drain that is not `patient` ends where it would have to wait."""
        self._context = context
        self._ticks = ticks
        self._refresher = refresher
        self._capabilities = capabilities
        self._name = name
        self._stop = stop
        self._patient = patient
        self._ends_at = time.monotonic() + slice_s
        self._calls = 0
        self._known_active = False
        self._asked_for_key = False
        self._took_s = 0.0
        self._in_vain = 0

    def run(self) -> Drained:
        """Drains until its slice is over or there is nothing to wait for; then leaves in order.

        Raises DatabaseError where an answer could not be stored (nothing is claimed then), and
        RedisError.
        """
        try:
            while not (reason := self._must_end()):
                hint = self._once()
                if reason := self._wait(hint):
                    break
        except RedisError:
            raise  # without a leave: Redis does not take it, and what this drain holds expires
        except BaseException:
            self._leave("error")
            raise
        self._leave(reason or "stop")
        return Drained(self._calls, reason or "stop")

    def _once(self) -> Hint:
        """One claim, the call that it grants, and those that are claimed with the end of one."""
        self._refresher.store.ready()
        mark = newest_call = None
        if not self._known_active:
            mark, newest_call = self._prove_idle(), self._newest_call()
        asked = self._asked()
        reached(Point.CLAIM_BEFORE)
        answer = self._context.queue.claim(
            who=self._name,
            max_items=asked.max_items,
            drain=self._name,
            max_wait_ms=asked.max_wait_ms,
            idle_mark=mark,
            newest_call=newest_call,
        )
        if not isinstance(answer, Claimed):
            self._in_vain += 1
            if answer.held_by == "blocked" and self._lift_old_key_block():
                return answer.hint._replace(next_at_ms=answer.hint.now_ms)
            return answer.hint
        self._in_vain = 0
        call: Call | None = Call(
            answer,
            asked.price_feed,
            self._capabilities.feed_for,
            asked.deadline,
            self._name,
            asked.max_wait_ms,
            then=self._asked_at_an_end,
        )
        hint = answer.hint
        while call:
            hint = self._make(call)
            call = call.progress.next_call
        return hint

    def _asked(self) -> Asked:
        """What is claimed next."""
        feed, most = self._capabilities.price_feed(), self._capabilities.most_tickers()
        deadline = SendDeadline.after(self._context.queue.policy.send_within_ms / 1000)
        return Asked(feed, deadline, most, self._left_ms())

    def _asked_at_an_end(self) -> Asked | None:
        """The same, in the step that ends a call; None where this drain is about to end."""
        return None if self._must_end() else self._asked()

    def _make(self, call: Call) -> Hint:
        """Makes a granted call. It ends as what it is, whatever is raised on the way."""
        self._calls += 1
        began_s = time.monotonic()
        try:
            reached(Point.CLAIMED)
            granted = call.claimed.hint
            soon = granted.wait_ms is not None and granted.wait_ms <= SHORT_MS
            if soon and not granted.waiting and self._took_s > SLOW_S:
                self._ticks.ask_for_help()  # more is free than this drain will take in time
            refreshed = self._refresher.refresh(call)
        except DatabaseError:
            raise  # of a call that has ended
        except Exception as error:
            if call.progress.unendable:
                raise
            refreshed = self._refresher.recover(call, error)
            if isinstance(error, BaseTimeoutException):
                raise  # RQ's, by a signal: the time of this tick is over
        except BaseException as error:
            self._refresher.recover(call, error)
            raise
        finally:
            self._took_s = time.monotonic() - began_s
        if refreshed.plan_changed:
            connection = self._refresher.store.connection
            plan_changed(self._context, connection, self._capabilities)
        return refreshed.hint

    def _wait(self, hint: Hint) -> str | None:
        """Waits in place if that is this drain's to do; otherwise says why it ends."""
        if hint.wait_ms is None:
            return "empty"
        if hint.wait_ms == 0:
            # What is due now is granted now. Where it is not, no circle.
            self._stop.sleep(min(self._in_vain * IN_VAIN_S, LONGEST_IN_VAIN_S))
            return None
        if not hint.waiter and hint.wait_ms <= SHORT_MS:
            self._stop.sleep(hint.wait_ms / 1000)
            return None
        if not hint.waiter:
            return "version" if hint.reason == "version" else "another"
        if not self._patient:
            return "wait"
        reached(Point.WAIT_BEFORE)
        # Looked for after it became the one that waits: a tick that came before is seen here, one
        # that comes later leaves a token.
        if reason := self._must_end():
            return reason
        wait_s = min(hint.wait_ms, self._left_ms()) / 1000
        self._context.queue.wait(wait_s, stop=self._stop.is_set)
        return None

    def _must_end(self) -> str | None:
        if self._stop.is_set():
            return "stop"
        if self._left_ms() <= 0:
            return "slice"
        return "tick" if self._ticks.others_waiting() else None

    def _left_ms(self) -> int:
        return max(0, int((self._ends_at - time.monotonic()) * 1000))

    def _leave(self, ended: str) -> None:
        """Retires; if something is due soon a successor takes over, so that no call lies idle."""
        if self._stop.is_set():
            hurry(self._context.redis)
            self._ticks.hurry()
        reached(Point.RETIRE_BEFORE)
        woken, hint = self._context.queue.retire(self._name)
        reached(Point.RETIRED)
        soon = hint.wait_ms is not None and hint.wait_ms <= SUCCESSOR_WITHIN_MS
        if ended in ("error", "version") or hint.waiting:
            soon = False  # the scheduler's pass starts another one
        if woken or soon:
            self._ticks.ensure_drain()
        log.info("drain.ended", drain=self._name, calls=self._calls, why=ended)

    def _prove_idle(self) -> str | None:
        """See `prove_idle`; asked just before the first claim."""
        self._known_active = True
        return prove_idle(self._refresher.store.connection, self._context.limiter)

    def _newest_call(self) -> tuple[str, int] | None:
        """The last call of which PostgreSQL knows, if it counts: Redis must know it, too."""
        policy = self._context.queue.policy
        if policy.limit is None:
            return None
        providers = ProviderRepository(self._refresher.store.connection)
        found = providers.newest_call(policy.window_ms / 1000)
        return found and (found[0], int(found[1].timestamp() * 1000))

    def _lift_old_key_block(self) -> bool:
        """A block for an unknown key ends when another key is set; asked once. True: it did."""
        if self._asked_for_key:
            return False
        self._asked_for_key = True
        return lift_block_of_another_key(self._context)
