"""One granted call: fetch, write, complete. A crash anywhere leaves the lease to expire."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import structlog

from db.connection import Connection
from db.errors import DatabaseError
from db.rows import CallAudit, SymbolRefresh, WriteResult
from market.client import MarketClient
from market.errors import (
    InvalidTicker,
    MarketError,
    NotEntitled,
    NotYetPublished,
    RateLimited,
    Unauthorized,
)
from market.feeds import Feed
from market.quotes import Answer
from market.transport import SendDeadline
from queueing import Bury, Claimed, Death, Done, GiveBack, Hint, Item, LeaseLost, Retry
from runtime.context import Context, fingerprint
from runtime.failpoints import Point, reached
from runtime.stopping import STOP, StopFlag
from worker.batch import plan_changed
from worker.events import AssetUpdated, channel
from worker.lease import Lease
from worker.plan import Plan
from worker.retry_policy import RetryRules, after_error, after_missing, provider_failed
from worker.selection import instant
from worker.store import Store
from worker.validation import flaw_of

log = structlog.get_logger(__name__)

UNAUTHORIZED_BLOCK_MS = 15 * 60 * 1000
DATABASE_PAUSE_MS = 5_000


@dataclass(frozen=True)
class Call:
    """The call that a claim paid for."""

    claimed: Claimed
    feed: Feed
    deadline: SendDeadline
    drain: str
    max_wait_ms: int
    """How long the drain would wait after this call."""


class Refresher:
    """Refreshes what one claim leased, in one HTTP request and one transaction."""

    def __init__(
        self,
        context: Context,
        client: MarketClient,
        connection: Connection,
        plan: Plan,
        *,
        reconnect: Callable[[], Connection] | None = None,
        stop: StopFlag = STOP,
    ) -> None:
        self._context = context
        self._client = client
        self._store = Store(connection, reconnect, stop)
        self._plan = plan
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

    def refresh(self, call: Call) -> Hint:
        """Makes the call, stores and tells what it brought; returns when to claim next.

        Raises DatabaseError if the answer could not be written; the items were given back then.
        Every failure of the provider ends as a retry, a return or a dead letter of the items.
        """
        queue = self._context.queue
        asked_at_s = call.deadline.at_s - queue.policy.send_within_ms / 1000
        self._lease = Lease(queue, call.claimed, since_s=asked_at_s)
        sound = [item for item in call.claimed.items if flaw_of(item) is None]
        tickers = list(dict.fromkeys(_ticker(item) for item in sound))
        # The provider's clock is nearer to Redis' than to this host's, which may be skewed.
        granted_at, clock = instant(call.claimed.granted_at_ms), time.monotonic()

        def audit(
            outcome: str, error: MarketError | None = None, status: int | None = None
        ) -> CallAudit:
            return CallAudit(
                endpoint=call.feed.name,
                feed=call.feed.name,
                tickers=tuple(tickers),
                status=error.status if error else status,
                outcome=outcome,
                started_at=granted_at,
                latency_ms=int((time.monotonic() - clock) * 1000),
                call_id=call.claimed.token,
                error=str(error) if error else None,
            )

        reached(Point.SEND_BEFORE)
        try:
            if not tickers:
                raise InvalidTicker("no item of this call can be asked for")
            seen_at = self._seen_at(call)
            answer = call.feed.fetch(self._client, tickers, now=seen_at, deadline=call.deadline)
        except MarketError as error:
            return self._failed(call, error, audit(type(error).__name__, error))
        reached(Point.ANSWERED)
        return self._answered(call, answer, audit("ok", status=answer.status))

    def _answered(self, call: Call, answer: Answer, audit: CallAudit) -> Hint:
        rows, done = [], []
        back: list[Retry | GiveBack | Bury] = []
        for item in call.claimed.items:  # two assets may have one ticker
            if why := flaw_of(item):
                back.append(Bury(item.symbol, Death.INVALID, why))
                continue
            ticker, symbol = _ticker(item), _asset(item)
            if seen := answer.observations.get(ticker):
                event = AssetUpdated.of(symbol, item, call.claimed, seen.price)
                bars_only = bool(item.payload.get("bars"))
                rows.append(SymbolRefresh(symbol, seen.price, seen.bars, bars_only))
                done.append(Done(item.symbol, channel(symbol), event.model_dump_json()))
            elif ticker not in answer.missing and answer.next_cursor:  # cut off by a page
                back.append(GiveBack(item.symbol))
            else:
                back.append(after_missing(item, answer.missing.get(ticker), rules=self._rules))
        written = self._write(call, audit, rows, back)
        asset_of = {item.symbol: _asset(item) for item in call.claimed.items}
        refused = [d.symbol for d in done if asset_of[d.symbol] in written.refused]
        back += [Bury(s, Death.INVALID, written.refused[asset_of[s]]) for s in refused]
        done = [
            # What was stored already is no news.
            d if asset_of[d.symbol] in written.changed else Done(d.symbol)
            for d in done
            if d.symbol not in refused
        ]
        hint = self._release(call, back, answered=True, failed=False) if back else None
        if done or hint is None:
            hint = self._complete(call, done)
        log.info(
            "refresh.done",
            symbols=[d.symbol for d in done][:5],
            count=len(done),
            not_done=len(back),
            feed=call.feed.name,
            bars=written.bars_written,
        )
        return hint

    def _failed(self, call: Call, error: MarketError, audit: CallAudit) -> Hint:
        log.warning(
            "refresh.failed",
            error=type(error).__name__,
            detail=str(error),
            feed=call.feed.name,
            symbols=[item.symbol for item in call.claimed.items][:5],
        )
        shared = len(call.claimed.items) > 1
        day_before = self._seen_at(call) < audit.started_at
        self._provider_wide(error, call.feed, audit)
        reached(Point.PROVIDER_TOLD)
        back = [
            Bury(item.symbol, Death.INVALID, why)
            if (why := flaw_of(item))
            else after_error(
                item,
                error,
                feed=call.feed.name,
                rules=self._rules,
                shared=shared,
                day_before=day_before,
            )
            for item in call.claimed.items
        ]
        failed = provider_failed(error, audit.latency_ms)
        self._write(call, audit, [], back, answered=error.answered, failed=failed)
        if isinstance(error, NotEntitled):
            plan_changed(self._context, self.connection, self._plan)
        return self._release(call, back, answered=error.answered, sent=error.sent, failed=failed)

    def _seen_at(self, call: Call) -> datetime:
        """The instant to ask for: bars are wanted of the newest day and no other."""
        first, granted_at = call.claimed.items[0], instant(call.claimed.granted_at_ms)
        if first.payload.get("bars") or flaw_of(first):
            return granted_at
        return self._plan.seen_at(_ticker(first), call.feed, granted_at)

    def _provider_wide(self, error: MarketError, feed: Feed, audit: CallAudit) -> None:
        """What concerns every worker is told first, before the items return."""
        context = self._context
        match error:
            case RateLimited():
                wait_ms = int((error.retry_after_s or 0) * 1000) or context.queue.policy.window_ms
                context.limiter.block(wait_ms, "429: the provider counts too many calls")
            case Unauthorized():
                reason = unauthorized_reason(context)
                context.limiter.block(UNAUTHORIZED_BLOCK_MS, reason)
            case NotEntitled():
                self._plan.refuse(feed.name, str(error))
            case NotYetPublished():
                self._plan.not_published(audit.tickers[0], audit.started_at)
            case _:
                return

    def _write(
        self,
        call: Call,
        audit: CallAudit,
        rows: Sequence[SymbolRefresh],
        back: Sequence[Retry | GiveBack | Bury],
        *,
        answered: bool = True,
        failed: bool | None = False,
    ) -> WriteResult:
        lost = self._lease.lost()  # somebody else's by now: theirs to write
        held = [item for item in call.claimed.items if item.symbol not in lost]
        assets = {_asset(item) for item in held}
        rows = [row for row in rows if row.symbol in assets]
        # The status of an asset is that of its price; bars that fail do not make it an error.
        prices = {item.symbol for item in held if not item.payload.get("bars")}
        errors = [
            (b.symbol, b.error or "")
            for b in back
            if not isinstance(b, GiveBack) and b.symbol in prices
        ]
        at_ms = call.claimed.granted_at_ms
        try:
            try:
                reached(Point.WRITE_BEFORE)
                written = self._store.write(at_ms, audit, rows, errors, keep=self._lease.lost)
                reached(Point.COMMITTED)
                return written
            except DatabaseError as error:
                if type(error) is not DatabaseError:  # it is away, or not prepared for us
                    raise
                log.error("database.refused", detail=str(error))
                return self._write_singly(at_ms, audit, rows, errors)
        except DatabaseError as error:
            log.error("database.lost", detail=str(error))
            everything = [
                GiveBack(item.symbol, delay_ms=DATABASE_PAUSE_MS, error=str(error))
                for item in call.claimed.items
            ]
            self._release(call, everything, answered=answered, failed=failed)
            raise

    def _write_singly(
        self,
        at_ms: int,
        audit: CallAudit,
        rows: Sequence[SymbolRefresh],
        failed: Sequence[tuple[str, str]],
    ) -> WriteResult:
        """The same, a transaction each: a rule of the user's own table that refuses one asset must
        neither cost the others their prices nor turn in a circle."""
        results: list[WriteResult] = []
        refused: dict[str, str] = {}
        for row in rows:
            self._lease.lost()  # a transaction each takes its time; old prices replace nothing
            try:
                results.append(self._store.write(at_ms, audit, [row], keep=self._lease.lost))
            except DatabaseError as error:
                if type(error) is not DatabaseError:
                    raise
                refused[row.symbol] = str(error)
        errors = [*failed, *refused.items()]
        results.append(self._store.write(at_ms, audit, [], errors, keep=self._lease.lost))
        return WriteResult(
            changed=tuple(symbol for result in results for symbol in result.changed),
            unchanged=tuple(symbol for result in results for symbol in result.unchanged),
            refused={s: why for result in results for s, why in result.refused.items()} | refused,
            bars_written=sum(result.bars_written for result in results),
        )

    def _complete(self, call: Call, done: Sequence[Done]) -> Hint:
        reached(Point.COMPLETE_BEFORE)
        try:
            hint = self._context.queue.end(
                call.claimed, done, answered=True, drain=call.drain, max_wait_ms=call.max_wait_ms
            )
        except LeaseLost as error:
            return self._lost(error)
        reached(Point.COMPLETED)
        return hint

    def _release(
        self,
        call: Call,
        back: Sequence[Retry | GiveBack | Bury],
        *,
        answered: bool,
        sent: bool = True,
        failed: bool | None,
    ) -> Hint:
        reached(Point.RELEASE_BEFORE)
        try:
            hint = self._context.queue.end(
                call.claimed,
                back,
                answered=answered,
                sent=sent,
                failed=failed,
                drain=call.drain,
                max_wait_ms=call.max_wait_ms,
            )
        except LeaseLost as error:
            return self._lost(error)
        reached(Point.RELEASED)
        return hint

    def _lost(self, error: LeaseLost) -> Hint:
        log.warning("lease.lost", symbols=error.symbols[:5])
        return self._context.queue.next_at()


def _ticker(item: Item) -> str:
    return str(item.payload["ticker"])


def _asset(item: Item) -> str:
    """The asset that an item is about: its price and its bars are items of their own."""
    return str(item.payload.get("symbol", item.symbol))


def unauthorized_reason(context: Context) -> str:
    """Names the key by its fingerprint, so that a new key lifts the block of the old one."""
    return f"401: the provider does not know API key {fingerprint(context.settings.api_key)}"
