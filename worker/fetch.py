"""What a granted call asks the provider for, and what its answer teaches."""

import time
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from db.coverage import Hole
from db.errors import DatabaseError
from db.symbols import SymbolRepository
from market.client import MarketClient
from market.errors import InvalidTicker
from market.feeds import Aggregates, MarketFeed
from market.quotes import Answer, Delay
from market.tickers import market_of
from queueing import Again, Done, GiveBack, Verdict
from runtime.failpoints import Point, reached
from settings import Settings
from worker.call import Call, Outcome
from worker.capabilities import Capabilities
from worker.outcomes import outcome_of_answer
from worker.retry_policy import RetryRules
from worker.selection import is_current
from worker.series import SeriesNeed, bars_until, series_needs
from worker.spare import Spares
from worker.store import Store
from worker.work import Kind

log = structlog.get_logger(__name__)


class Fetcher:
    """Asks the provider on behalf of one drain."""

    def __init__(
        self,
        settings: Settings,
        client: MarketClient,
        store: Store,
        capabilities: Capabilities,
        rules: RetryRules,
    ) -> None:
        self._settings = settings
        self._client = client
        self._store = store
        self._capabilities = capabilities
        self._rules = rules
        self._spares = Spares()

    def outcome_of(self, call: Call) -> Outcome:
        """The one HTTP request. Raises MarketError."""
        reached(Point.SEND_BEFORE)
        if not call.work:
            raise InvalidTicker("no item of this call can be asked for")
        progress, first = call.progress, call.work[0]
        hole = self._need(call).lacks if first.kind is Kind.BARS else None
        done = self._done_already(call, hole)
        market = market_of(first.ticker)
        asked_first = {w.item.symbol for w in call.work if market_of(w.ticker) == market}
        if asked_first <= done.keys():  # nothing need be sent; another market is a call of its own
            rest = {w.item.symbol: GiveBack(w.item.symbol) for w in call.work}
            return Outcome(rest | call.not_asked() | done, answered=False, sent=False, failed=None)
        if (at_hand := self._spares.answer(call, self._seen_at(call))) is not None:
            self._learn(call, at_hand)
            found = outcome_of_answer(call, at_hand, self._rules, self._settings.jumps)
            return replace(found, answered=False, sent=False, failed=None)
        progress.sending = True
        began_s = time.monotonic()
        try:
            answer = self._ask(call, hole)
        finally:
            progress.request_ms = since_ms(began_s)
        progress.answered = True
        reached(Point.ANSWERED)
        self._learn(call, answer)
        return outcome_of_answer(call, answer, self._rules, self._settings.jumps)

    def _ask(self, call: Call, hole: Hole | None) -> Answer:
        """Asks for the newest prices, or for the days of a hole."""
        feed, now, ticker = call.feed, call.granted_at, call.work[0].ticker
        if hole is not None and isinstance(feed, Aggregates):
            days, until = (hole.oldest, hole.newest), bars_until(now)
            return feed.fetch_days(self._client, ticker, *days, now=until, deadline=call.deadline)
        seen_at = self._seen_at(call)
        call.progress.day_before = seen_at < now
        if isinstance(feed, MarketFeed):
            rows = feed.fetch_rows(self._client, ticker, now=seen_at, deadline=call.deadline)
            self._spares.keep(rows, call.claimed)
            return rows.read(call.tickers, seen_at)
        return feed.fetch(self._client, call.tickers, now=seen_at, deadline=call.deadline)

    def _seen_at(self, call: Call) -> datetime:
        """The instant whose prices are asked for; before the grant: they are the day before's."""
        ticker = call.work[0].ticker
        return self._capabilities.seen_at(ticker, call.feed, call.granted_at)

    def _done_already(self, call: Call, hole: Hole | None) -> dict[str, Verdict]:
        """The items that a call would bring nothing for: a series that lacks nothing, and stored
        prices of the day before while the newest day is to come."""
        first = call.work[0]
        if first.kind is Kind.BARS:
            return {} if hole else {first.item.symbol: Done(first.item.symbol)}
        return self.current(call) if self._seen_at(call) < call.granted_at else {}

    def _need(self, call: Call) -> SeriesNeed:
        """What the series of a call for bars lacks. Raises DatabaseError."""
        work, settings = call.work[0], self._settings
        asset = (work.symbol, work.ticker)
        connection = self._store.connection
        needs = series_needs([asset], connection, settings, self._capabilities, call.granted_at)
        return needs[work.symbol]

    def _learn(self, call: Call, answer: Answer) -> None:
        """What a good answer tells about its feed."""
        elsewhere = [one.ticker for one in answer.missing.values() if one.elsewhere]
        self._capabilities.absent(call.feed.name, elsewhere)
        if call.feed.delay is Delay.END_OF_DAY:
            for seen in answer.observations.values():
                day = (seen.price.as_of - timedelta(microseconds=1)).date()  # may end it
                self._capabilities.published(seen.ticker, day)
                if seen.asked and day < seen.asked.last:
                    self._capabilities.ended_before(seen.ticker, seen.asked.last, call.granted_at)

    def goes_on(self, call: Call, outcome: Outcome) -> Outcome:
        """A series that lacks more goes back behind the others."""
        if not call.work or call.work[0].kind is not Kind.BARS:
            return outcome
        name = call.work[0].item.symbol
        verdict = outcome.verdicts.get(name)
        if not isinstance(verdict, Done):
            return outcome
        need = self._need(call)
        if need.lacks is None:
            return outcome
        again = Again(name, need.urgency(), verdict.channel, verdict.event)
        return replace(outcome, verdicts={**outcome.verdicts, name: again})

    def current(self, call: Call) -> dict[str, Verdict]:
        """The items whose stored price is that of the day before: a call for it brings nothing."""
        prices = {work.symbol: work for work in call.work if work.kind is Kind.PRICE}
        try:
            known = SymbolRepository(self._store.connection).get_many(list(prices))
        except DatabaseError as error:  # they ask for the day before, which does no harm
            log.warning("prices.unknown", detail=str(error))
            return {}
        seen_at = self._capabilities.seen_at
        return {
            work.item.symbol: Done(work.item.symbol)
            for symbol, work in prices.items()
            if symbol in known
            and is_current(
                known[symbol], call.feed, seen_at(work.ticker, call.feed, call.granted_at)
            )
        }


def since_ms(began_s: float) -> int:
    """The time since an instant of `time.monotonic`."""
    return int((time.monotonic() - began_s) * 1000)
