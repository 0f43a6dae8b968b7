"""One granted call: what it asks for, and what becomes of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from functools import cached_property
from typing import Self

from db.rows import SymbolRefresh, WriteResult
from market.errors import MarketError
from market.feeds import Feed
from market.quotes import Answer, Delay, Observation
from market.tickers import AssetKind, asset_kind
from market.transport import SendDeadline
from queueing import Again, Bury, Claimed, Death, Done, GiveBack, Verdict, split
from worker.events import AssetUpdated, channel
from worker.retry_policy import (
    RetryRules,
    after_error,
    after_failure,
    after_missing,
    after_refusal,
    defect,
    is_of_all,
    provider_failed,
)
from worker.selection import utc_from_ms
from worker.series import asked_for, daily_asked
from worker.work import Kind, Malformed, Work, is_bars, parse


@dataclass(frozen=True)
class Outcome:
    """What a call brought for each of its items; keys are the queue's names of items."""

    verdicts: Mapping[str, Verdict]
    rows: Mapping[str, SymbolRefresh] = field(default_factory=dict)
    answered: bool = True
    sent: bool = True
    failed: bool | None = False
    """What the call says about the provider: see PriorityQueue.end."""

    def errors(self) -> list[tuple[str, str]]:
        """What the sync status tells: that of an asset is its price's, bars are no error of it."""
        return [
            (name, verdict.error or "")
            for name, verdict in self.verdicts.items()
            if not isinstance(verdict, Done | Again | GiveBack) and not is_bars(name)
        ]

    def without(self, lost: frozenset[str]) -> Self:
        """The same without items that are another call's by now, and that call's to write."""
        return replace(
            self,
            verdicts={name: v for name, v in self.verdicts.items() if name not in lost},
            rows={name: row for name, row in self.rows.items() if name not in lost},
        )


@dataclass
class Progress:
    """How far a call has come: what its end must tell whatever is raised on the way."""

    sending: bool = False
    """The request may have left this machine."""
    answered: bool = False
    error: MarketError | None = None
    """How the call failed as a whole."""
    took_ms: int = 0
    """How long it took to fail."""
    request_ms: int | None = None
    """How long the request took, answered or not; None: nothing was asked."""
    day_before: bool = False
    """It asked for the day before the newest one."""
    told: bool = False
    """What concerns every worker is told."""
    outcome: Outcome | None = None
    """What is stored, or need not be."""
    ended: bool = False
    unendable: bool = False
    """Redis did not take the end in time: the lease runs out."""


@dataclass(frozen=True)
class Call:
    """The call that a claim paid for, and the work that it is to do."""

    claimed: Claimed
    price_feed: Feed
    feed_of: Callable[[Work, datetime], Feed]
    """The feed that has what is asked for, at an instant."""
    deadline: SendDeadline
    drain: str
    max_wait_ms: int
    """How long the drain would wait after this call."""
    progress: Progress = field(default_factory=Progress)

    @cached_property
    def _parsed(self) -> list[Work | Malformed]:
        return [parse(item) for item in self.claimed.items]

    @cached_property
    def _sound(self) -> list[Work]:
        return [one for one in self._parsed if isinstance(one, Work)]

    @cached_property
    def feed(self) -> Feed:
        """The feed of the first item; what another feed has is left for a call of its own."""
        first = next(iter(self._sound), None)
        return self.feed_of(first, self.granted_at) if first else self.price_feed

    @cached_property
    def work(self) -> tuple[Work, ...]:
        """The items that are asked for, parsed once."""
        at, feed = self.granted_at, self.feed
        mine = [work for work in self._sound if self.feed_of(work, at) is feed]
        return tuple(mine[: feed.max_tickers])

    @cached_property
    def returned(self) -> tuple[Work, ...]:
        """The items that were claimed along and are another call's to ask for."""
        return tuple(work for work in self._sound if work not in self.work)

    @cached_property
    def malformed(self) -> tuple[Malformed, ...]:
        """The items that cannot be asked for."""
        return tuple(one for one in self._parsed if isinstance(one, Malformed))

    @property
    def tickers(self) -> tuple[str, ...]:
        """What the provider is asked for; two assets may have one ticker."""
        return tuple(dict.fromkeys(work.ticker for work in self.work))

    @property
    def granted_at(self) -> datetime:
        """The call's instant. The provider's clock is nearer to Redis' than to this host's."""
        return utc_from_ms(self.claimed.granted_at_ms)

    def not_asked(self) -> dict[str, Verdict]:
        """The verdicts on the items of which the provider is not asked in this call."""
        found: dict[str, Verdict] = {
            m.item.symbol: Bury(m.item.symbol, Death.INVALID, m.why) for m in self.malformed
        }
        return found | {w.item.symbol: GiveBack(w.item.symbol) for w in self.returned}


def outcome_of_answer(
    call: Call, answer: Answer, rules: RetryRules, jumps: Mapping[AssetKind, Decimal]
) -> Outcome:
    """A good answer: each item has its price, or the reason why there is none.

    `jumps`: how far from the stored price one is believed that its answer does not support."""
    verdicts, rows = call.not_asked(), {}
    for work in call.work:
        name = work.item.symbol
        if seen := answer.observations.get(work.ticker):
            event = AssetUpdated.of(work.symbol, work.item, call.claimed, seen.price)
            rows[name] = _row(call, work, seen, jumps)
            verdicts[name] = Done(name, channel(work.symbol), event.model_dump_json())
            continue
        missing = answer.missing.get(work.ticker)
        if missing is None and answer.cut_short:
            verdicts[name] = GiveBack(name)
            continue
        verdicts[name] = after_missing(work, missing, rules=rules)
        if missing is not None and missing.asked is not None:
            asked = asked_for(work.ticker, missing.asked, None, call.granted_at)
            rows[name] = SymbolRefresh(work.symbol, None, asked=asked)
    return Outcome(verdicts, rows)


def _row(
    call: Call, work: Work, seen: Observation, jumps: Mapping[AssetKind, Decimal]
) -> SymbolRefresh:
    """What is to be stored of one asset. The bars of an end-of-day plan are its newest prices."""
    return SymbolRefresh(
        work.symbol,
        seen.price,
        seen.bars,
        bars_only=work.kind is Kind.BARS and call.feed.delay is not Delay.END_OF_DAY,
        daily=seen.daily,
        asked=(
            asked_for(work.ticker, seen.asked, seen, call.granted_at)
            if seen.asked
            else daily_asked(seen.daily)
        ),
        furthest=None if seen.price.supported else jumps.get(asset_kind(work.ticker)),
    )


def outcome_of_error(call: Call, error: MarketError, rules: RetryRules) -> Outcome:
    """A call that failed as a whole."""
    if len(call.work) > 1 and not is_of_all(error):
        verdicts = _halves(call, str(error))
    else:
        day_before = call.progress.day_before
        verdicts = call.not_asked() | {
            work.item.symbol: after_error(
                work, error, feed=call.feed, rules=rules, day_before=day_before
            )
            for work in call.work
        }
    failed = provider_failed(error, call.progress.took_ms)
    return Outcome(verdicts, answered=error.answered, sent=error.sent, failed=failed)


def outcome_of_defect(call: Call, error: BaseException, rules: RetryRules) -> Outcome:
    """A call in which this program failed; it says nothing about the provider."""
    items, why = call.claimed.items, defect(error)
    if len(items) > 1:
        verdicts = _halves(call, why)
    else:
        verdicts = {item.symbol: after_failure(item, why, rules=rules) for item in items}
    progress = call.progress
    return Outcome(verdicts, answered=progress.answered, sent=progress.sending, failed=None)


def _halves(call: Call, why: str) -> dict[str, Verdict]:
    """One of the items is to blame: each half goes on in calls of its own, until it is alone."""
    back: dict[str, Verdict] = {one.symbol: one for one in split(call.claimed, why)}
    return back | call.not_asked()


def outcome_of_outage(call: Call, outcome: Outcome, why: str, *, delay_ms: int) -> Outcome:
    """A call whose answer could not be stored: its items return, and no event is told."""
    back: dict[str, Verdict] = {
        item.symbol: GiveBack(item.symbol, delay_ms=delay_ms, error=why)
        for item in call.claimed.items
    }
    return replace(outcome, verdicts=back, rows={})


def outcome_of_write(
    call: Call, outcome: Outcome, written: WriteResult, rules: RetryRules
) -> Outcome:
    """The same after the write: what a table refused fails, and what stood there is no news."""
    verdicts = dict(outcome.verdicts)
    for work in call.work:
        name, symbol = work.item.symbol, work.symbol
        if name not in outcome.rows:
            continue
        if why := written.refused.get(symbol):
            busy = symbol in written.busy
            verdicts[name] = after_refusal(work.item, why, busy=busy, rules=rules)
        elif (why := written.suspect.get(symbol)) and work.kind is Kind.PRICE:
            verdicts[name] = after_failure(work.item, why, rules=rules)
        elif symbol not in written.changed and isinstance(verdicts[name], Done):
            verdicts[name] = Done(name)
    return replace(outcome, verdicts=verdicts)
