"""One granted call: fetch, write, end. A crash anywhere leaves the lease to expire.

Whatever is raised between the claim and the end, `Refresher.recover` ends the call: first what
concerns every worker, then each item as what it is. So only a process that died counts as a crash.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from db.connection import Connection
from db.errors import DatabaseError
from db.rows import CallAudit
from market.client import MarketClient
from market.errors import (
    MarketError,
    NotEntitled,
    NotYetPublished,
)
from queueing import Done, Hint
from runtime.context import Context
from runtime.failpoints import Point, reached
from runtime.stopping import STOP, StopFlag
from worker.call import Call, Outcome
from worker.capabilities import Capabilities
from worker.ending import end_call
from worker.fetch import Fetcher, since_ms
from worker.lease import Lease
from worker.outcomes import (
    outcome_of_defect,
    outcome_of_error,
    outcome_of_outage,
    outcome_of_write,
)
from worker.provider_facts import tell_everybody
from worker.retry_policy import RetryRules
from worker.store import Store
from worker.told import tell_failures

log = structlog.get_logger(__name__)

DATABASE_PAUSE_MS = 5_000


@dataclass(frozen=True)
class Refreshed:
    """A call that has ended."""

    hint: Hint
    """When to claim next."""
    plan_changed: bool = False
    """The plan refused this feed: what was reckoned with it must be reckoned anew."""


class Refresher:
    """Refreshes what one claim leased, in one HTTP request and one transaction."""

    def __init__(
        self,
        context: Context,
        client: MarketClient,
        connection: Connection,
        capabilities: Capabilities,
        *,
        reconnect: Callable[[], Connection] | None = None,
        stop: StopFlag = STOP,
    ) -> None:
        self._context = context
        self.store = Store(connection, reconnect, stop)
        self._stop = stop
        self._capabilities = capabilities
        settings = context.settings
        self._rules = RetryRules(
            settings.retry_max_attempts, int(settings.retry_delay_seconds * 1000)
        )
        self._fetcher = Fetcher(settings, client, self.store, capabilities, self._rules)

    def refresh(self, call: Call) -> Refreshed:
        """Makes the call, stores and tells what it brought.

        Raises DatabaseError if the answer could not be stored; the items were given back then.
        Every failure of the provider ends as a retry, a return or a dead letter of the items.
        Anything else that it raises is for `recover`.
        """
        queue, progress = self._context.queue, call.progress
        asked_at_s = call.deadline.at_s - queue.policy.send_within_ms / 1000
        lease = Lease(queue, call.claimed, since_s=asked_at_s)
        began_s = time.monotonic()
        try:
            outcome = self._fetcher.outcome_of(call)
        except DatabaseError as error:  # what the call should ask for could not be read
            unsent = Outcome({}, answered=False, sent=False, failed=None)
            self._store_away(call, unsent, error)
            raise
        except MarketError as error:
            progress.error, progress.took_ms = error, since_ms(began_s)
            outcome = self._failed(call, error)
        if not outcome.sent and progress.error is None and progress.told_by is None:
            return Refreshed(self._end(call, outcome))
        audit = None if progress.told_by else _audit(call, since_ms(began_s))
        outcome, bars = self._write(call, audit, outcome, lease)
        # PostgreSQL took this answer just now, so it will take that of another call.
        hint = self._end(call, outcome, claims=progress.error is None)
        _log_done(call, outcome, bars)
        tell_failures(call, outcome, self._rules)
        return Refreshed(hint, plan_changed=isinstance(progress.error, NotEntitled))

    def recover(self, call: Call, error: BaseException) -> Refreshed:
        """Ends a call in which `error` was raised that `refresh` does not expect."""
        progress = call.progress
        if progress.ended:
            hint = self._context.queue.next_at()
        else:
            failure = progress.error
            if failure and not progress.told:
                tell_everybody(self._context, self._capabilities, call, failure)
            outcome = progress.outcome or (
                outcome_of_error(call, failure, self._rules)
                if failure
                else outcome_of_defect(call, error, self._rules)
            )
            hint = end_call(self._context.queue, call, outcome, self._stop)
            tell_failures(call, outcome, self._rules)
        log.error(
            "call.defect",
            error=type(error).__name__,
            call_id=call.claimed.token,
            exc_info=error,
        )
        return Refreshed(hint, plan_changed=isinstance(progress.error, NotEntitled))

    def _failed(self, call: Call, error: MarketError) -> Outcome:
        """What concerns every worker is told first, before the items return."""
        tell_everybody(self._context, self._capabilities, call, error)
        log.warning(
            "call.failed",
            error=type(error).__name__,
            detail=str(error),
            feed=call.feed.name,
            call_id=call.claimed.token,
            symbols=[item.symbol for item in call.claimed.items][:5],
        )
        reached(Point.PROVIDER_TOLD)
        outcome = outcome_of_error(call, error, self._rules)
        if isinstance(error, NotYetPublished) and not call.progress.day_before:
            return replace(outcome, verdicts={**outcome.verdicts, **self._fetcher.current(call)})
        return outcome

    def _write(
        self, call: Call, audit: CallAudit | None, outcome: Outcome, lease: Lease
    ) -> tuple[Outcome, int]:
        """Stores what was brought; how the items end now, and the number of bars written.

        Raises DatabaseError, with every item given back.
        """
        mine = outcome.without(lease.lost())
        rows, errors = list(mine.rows.values()), mine.errors()
        try:
            reached(Point.WRITE_BEFORE)
            written = self.store.write(
                call.told_by.granted_at_ms, audit, rows, errors, keep=lease.lost
            )
            outcome = outcome_of_write(call, outcome, written, self._rules)
            call.progress.outcome = outcome
            reached(Point.COMMITTED)
            outcome = call.progress.outcome = self._fetcher.goes_on(call, outcome)
        except DatabaseError as error:
            self._store_away(call, outcome, error)
            raise
        return outcome, written.bars_written

    def _store_away(self, call: Call, outcome: Outcome, error: DatabaseError) -> None:
        """Gives every item back, as PostgreSQL is away; `outcome` tells how the call went."""
        call.progress.outcome = outcome_of_outage(
            call, outcome, str(error), delay_ms=DATABASE_PAUSE_MS
        )
        log.error("database.lost", detail=str(error))
        self._end(call, call.progress.outcome)

    def _end(self, call: Call, outcome: Outcome, *, claims: bool = False) -> Hint:
        """Ends every item with its verdict, in one step, which may claim the next call."""
        reached(Point.END_BEFORE)
        hint = end_call(self._context.queue, call, outcome, self._stop, claims=claims)
        reached(Point.ENDED)
        return hint


def _audit(call: Call, latency_ms: int) -> CallAudit:
    error = call.progress.error
    return CallAudit(
        endpoint=call.feed.name,
        feed=call.feed.name,
        tickers=call.tickers,
        status=error.status if error else 200,
        outcome=type(error).__name__ if error else "ok",
        started_at=call.granted_at,
        latency_ms=latency_ms,
        call_id=call.claimed.token,
        error=str(error) if error else None,
    )


def _log_done(call: Call, outcome: Outcome, bars: int) -> None:
    done = [name for name, verdict in outcome.verdicts.items() if isinstance(verdict, Done)]
    if done:
        log.info(
            "refresh.done",
            symbols=done[:5],
            count=len(done),
            not_done=len(outcome.verdicts) - len(done),
            feed=call.feed.name,
            call_id=call.claimed.token,
            bars=bars,
        )
