"""One granted call: fetch, write, end. A crash anywhere leaves the lease to expire."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from db.connection import Connection
from db.errors import DatabaseError
from db.rows import CallAudit, WriteResult
from market.client import MarketClient
from market.errors import (
    InvalidTicker,
    MarketError,
    NotEntitled,
    NotYetPublished,
    RateLimited,
    Unauthorized,
)
from queueing import Done, GiveBack, Hint, LeaseLost
from runtime.context import Context, fingerprint
from runtime.failpoints import Point, reached
from runtime.stopping import STOP, StopFlag
from worker.call import Call, Outcome, outcome_of_answer, outcome_of_error
from worker.capabilities import Capabilities
from worker.lease import Lease
from worker.retry_policy import RetryRules
from worker.store import Store
from worker.work import Kind

log = structlog.get_logger(__name__)

UNAUTHORIZED_BLOCK_MS = 15 * 60 * 1000
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
        self._client = client
        self._store = Store(connection, reconnect, stop)
        self._capabilities = capabilities
        settings = context.settings
        self._rules = RetryRules(
            settings.retry_max_attempts, int(settings.retry_delay_seconds * 1000)
        )

    @property
    def connection(self) -> Connection:
        """The one in use: another than at first, if that was lost."""
        return self._store.connection

    def close(self) -> None:
        """Closes a connection that was opened in place of a lost one."""
        self._store.close()

    def refresh(self, call: Call) -> Refreshed:
        """Makes the call, stores and tells what it brought.

        Raises DatabaseError if the answer could not be written; the items were given back then.
        Every failure of the provider ends as a retry, a return or a dead letter of the items.
        """
        queue = self._context.queue
        asked_at_s = call.deadline.at_s - queue.policy.send_within_ms / 1000
        lease = Lease(queue, call.claimed, since_s=asked_at_s)
        began_s, error = time.monotonic(), None
        try:
            outcome = self._fetch(call)
        except MarketError as caught:
            error = caught
            took_ms = _since_ms(began_s)
            day_before = self._asked_day_before(call)
            self._tell_everybody(call, error)
            outcome = outcome_of_error(
                call, error, self._rules, took_ms=took_ms, day_before=day_before
            )
        audit = _audit(call, error, _since_ms(began_s))
        written = self._write(call, audit, outcome.without(lease.lost()), lease)
        outcome = outcome.stored(written)
        hint = self._end(call, outcome)
        _log_done(call, outcome, written)
        return Refreshed(hint, plan_changed=isinstance(error, NotEntitled))

    def _fetch(self, call: Call) -> Outcome:
        """The one HTTP request. Raises MarketError."""
        reached(Point.SEND_BEFORE)
        if not call.work:
            raise InvalidTicker("no item of this call can be asked for")
        first = call.work[0]
        seen_at = call.granted_at
        if first.kind is Kind.PRICE:  # bars are wanted of the newest day and no other
            seen_at = self._capabilities.seen_at(first.ticker, call.feed, seen_at)
        answer = call.feed.fetch(self._client, call.tickers, now=seen_at, deadline=call.deadline)
        reached(Point.ANSWERED)
        return outcome_of_answer(call, answer, self._rules)

    def _asked_day_before(self, call: Call) -> bool:
        """The newest day of the market is known not to be published yet."""
        if not call.work or call.work[0].kind is Kind.BARS:
            return False
        ticker, at = call.work[0].ticker, call.granted_at
        return self._capabilities.seen_at(ticker, call.feed, at) < at

    def _tell_everybody(self, call: Call, error: MarketError) -> None:
        """What concerns every worker is told first, before the items return."""
        match error:
            case RateLimited():
                window_ms = self._context.queue.policy.window_ms
                wait_ms = int((error.retry_after_s or 0) * 1000) or window_ms
                self._context.limiter.block(wait_ms, "429: the provider counts too many calls")
            case Unauthorized():
                reason = unauthorized_reason(self._context)
                self._context.limiter.block(UNAUTHORIZED_BLOCK_MS, reason)
            case NotEntitled():
                self._capabilities.refuse(call.feed.name, str(error))
            case NotYetPublished():
                self._capabilities.not_published(call.work[0].ticker, call.granted_at)
        log.warning(
            "refresh.failed",
            error=type(error).__name__,
            detail=str(error),
            feed=call.feed.name,
            symbols=[item.symbol for item in call.claimed.items][:5],
        )
        reached(Point.PROVIDER_TOLD)

    def _write(self, call: Call, audit: CallAudit, outcome: Outcome, lease: Lease) -> WriteResult:
        """Stores what was brought. Raises DatabaseError, with every item given back."""
        rows, errors = list(outcome.rows.values()), outcome.errors()
        try:
            reached(Point.WRITE_BEFORE)
            written = self._store.write(
                call.claimed.granted_at_ms, audit, rows, errors, keep=lease.lost
            )
            reached(Point.COMMITTED)
        except DatabaseError as error:
            log.error("database.lost", detail=str(error))
            verdicts = {
                item.symbol: GiveBack(item.symbol, delay_ms=DATABASE_PAUSE_MS, error=str(error))
                for item in call.claimed.items
            }
            self._end(call, Outcome(verdicts, {}, outcome.answered, outcome.sent, outcome.failed))
            raise
        return written

    def _end(self, call: Call, outcome: Outcome) -> Hint:
        """Ends every item with its verdict, in one step."""
        reached(Point.END_BEFORE)
        queue = self._context.queue
        try:
            hint = queue.end(
                call.claimed,
                list(outcome.verdicts.values()),
                answered=outcome.answered,
                sent=outcome.sent,
                failed=outcome.failed,
                drain=call.drain,
                max_wait_ms=call.max_wait_ms,
            )
        except LeaseLost as error:
            log.warning("lease.lost", symbols=error.symbols[:5])
            return queue.next_at()
        reached(Point.ENDED)
        return hint


def unauthorized_reason(context: Context) -> str:
    """Names the key by its fingerprint, so that a new key lifts the block of the old one."""
    return f"401: the provider does not know API key {fingerprint(context.settings.api_key)}"


def _audit(call: Call, error: MarketError | None, latency_ms: int) -> CallAudit:
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


def _log_done(call: Call, outcome: Outcome, written: WriteResult) -> None:
    done = [name for name, verdict in outcome.verdicts.items() if isinstance(verdict, Done)]
    if done:
        log.info(
            "refresh.done",
            symbols=done[:5],
            count=len(done),
            not_done=len(outcome.verdicts) - len(done),
            feed=call.feed.name,
            bars=written.bars_written,
        )


def _since_ms(began_s: float) -> int:
    return int((time.monotonic() - began_s) * 1000)
