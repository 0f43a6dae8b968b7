"""The provider's list of tickers, read under the quota: each page is a call with a permit."""

import time
from collections.abc import Callable, Iterator, Mapping

from db.calls import insert_call
from db.connection import Connection, unit_of_work
from db.refresh import PROVIDER
from db.rows import CallAudit
from market.client import MarketClient
from market.errors import BadAnswer, MarketError
from market.reference import Listed, Page, fetch_page, query
from market.transport import SendDeadline
from queueing import Hint
from queueing.limiter import Grant
from runtime.context import Context
from worker.idle import prove_idle
from worker.provider_facts import block_all
from worker.selection import utc_from_ms

FEED = "reference"
MOST_PAGES = 50
"""A list that does not end is an error."""
_AGAIN_S = 0.05
_LOOK_S = 1.0


class ReferenceList:
    """Reads the list. `waits` hears about each second why no call is free."""

    def __init__(
        self,
        context: Context,
        connection: Connection,
        client: MarketClient,
        *,
        waits: Callable[[Hint], None] = lambda hint: None,
    ) -> None:
        self._context, self._connection, self._client = context, connection, client
        self._waits = waits
        self._proven = False
        self.calls = 0

    def pages(self, market: str, *, search: str = "") -> Iterator[Page]:
        """All pages of active tickers of a market (fx or crypto). Raises MarketError,
        DatabaseError, RedisError."""
        asked: Mapping[str, str] | None = query(market, search=search)
        for _ in range(MOST_PAGES):
            page = self._call(asked)
            yield page
            asked = page.following
            if asked is None:
                return
        raise BadAnswer(f"its list of tickers does not end after {MOST_PAGES} pages", status=200)

    def inactive(self, market: str, ticker: str) -> Listed | None:
        """The ticker if it is listed as inactive."""
        page = self._call(query(market, ticker=ticker, active=False))
        return next((one for one in page.listed if one.ticker == ticker), None)

    def _call(self, asked: Mapping[str, str] | None) -> Page:
        """One call, as soon as the quota has a permit for it; audited like any other."""
        grant, deadline = self._permit()
        began_s, failure = time.monotonic(), None
        try:
            return fetch_page(self._client, asked or {}, deadline=deadline)
        except MarketError as error:
            failure = error
            block_all(self._context, error)
            raise
        finally:
            self.calls += 1
            if failure is None or failure.answered:
                self._context.limiter.release(grant)
            self._audit(grant, failure, int((time.monotonic() - began_s) * 1000))

    def _permit(self) -> tuple[Grant, SendDeadline]:
        limiter = self._context.limiter
        mark = None if self._proven else prove_idle(self._connection, limiter)
        self._proven = True
        while True:
            # Counted from before the grant, so that it ends before the quota's own reckoning does.
            deadline = SendDeadline.after(limiter.policy.send_within_ms / 1000)
            answer = limiter.acquire(who=FEED, idle_mark=mark)
            if isinstance(answer, Grant):
                return answer, deadline
            self._waits(answer)
            left_s = (answer.wait_ms or 0) / 1000
            time.sleep(min(_LOOK_S, max(_AGAIN_S, left_s)))

    def _audit(self, grant: Grant, failure: MarketError | None, took_ms: int) -> None:
        audit = CallAudit(
            call_id=grant.call_id,
            endpoint=FEED,
            feed=FEED,
            tickers=(),
            status=failure.status if failure else 200,
            outcome=type(failure).__name__ if failure else "ok",
            started_at=utc_from_ms(grant.granted_at_ms),
            latency_ms=took_ms,
            error=str(failure) if failure else None,
        )
        with unit_of_work(self._connection):
            insert_call(self._connection, PROVIDER, audit)
