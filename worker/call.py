"""One granted call: what it asks for, and what becomes of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Self

from db.rows import SymbolRefresh, WriteResult
from market.errors import MarketError
from market.feeds import Feed
from market.quotes import Answer
from market.transport import SendDeadline
from queueing import Bury, Claimed, Death, Done, GiveBack, Verdict
from worker.capabilities import Capabilities
from worker.events import AssetUpdated, channel
from worker.retry_policy import RetryRules, after_error, after_missing, provider_failed
from worker.selection import utc_from_ms
from worker.work import Kind, Malformed, Work, is_bars, parse


@dataclass(frozen=True)
class Call:
    """The call that a claim paid for, and the work that it is to do."""

    claimed: Claimed
    work: tuple[Work, ...]
    malformed: tuple[Malformed, ...]
    feed: Feed
    deadline: SendDeadline
    drain: str
    max_wait_ms: int
    """How long the drain would wait after this call."""

    @classmethod
    def of(
        cls,
        claimed: Claimed,
        capabilities: Capabilities,
        price_feed: Feed,
        deadline: SendDeadline,
        *,
        drain: str,
        max_wait_ms: int,
    ) -> Self:
        """Parses what was claimed, once, and picks the feed that its kind needs."""
        parsed = [parse(item) for item in claimed.items]
        work = tuple(one for one in parsed if isinstance(one, Work))
        malformed = tuple(one for one in parsed if isinstance(one, Malformed))
        feed = capabilities.feed_for(work[0], price_feed) if work else price_feed
        return cls(claimed, work, malformed, feed, deadline, drain, max_wait_ms)

    @property
    def tickers(self) -> tuple[str, ...]:
        """What the provider is asked for; two assets may have one ticker."""
        return tuple(dict.fromkeys(work.ticker for work in self.work))

    @property
    def granted_at(self) -> datetime:
        """The call's instant. The provider's clock is nearer to Redis' than to this host's."""
        return utc_from_ms(self.claimed.granted_at_ms)

    @property
    def shared(self) -> bool:
        """Several items depend on this one call."""
        return len(self.claimed.items) > 1

    def buried(self) -> dict[str, Verdict]:
        """The verdict on each malformed item."""
        return {m.item.symbol: Bury(m.item.symbol, Death.INVALID, m.why) for m in self.malformed}


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
            if not isinstance(verdict, Done | GiveBack) and not is_bars(name)
        ]

    def without(self, lost: frozenset[str]) -> Self:
        """The same without items that are another call's by now, and that call's to write."""
        return replace(
            self,
            verdicts={name: v for name, v in self.verdicts.items() if name not in lost},
            rows={name: row for name, row in self.rows.items() if name not in lost},
        )

    def stored(self, written: WriteResult) -> Self:
        """The same after the write: what was refused is buried, what stood there is no news."""
        verdicts = dict(self.verdicts)
        for name, row in self.rows.items():
            if why := written.refused.get(row.symbol):
                verdicts[name] = Bury(name, Death.INVALID, why)
            elif row.symbol not in written.changed:
                verdicts[name] = Done(name)
        return replace(self, verdicts=verdicts)


def outcome_of_answer(call: Call, answer: Answer, rules: RetryRules) -> Outcome:
    """A good answer: each item has its price, or the reason why there is none."""
    verdicts, rows = call.buried(), {}
    for work in call.work:
        name = work.item.symbol
        if seen := answer.observations.get(work.ticker):
            event = AssetUpdated.of(work.symbol, work.item, call.claimed, seen.price)
            rows[name] = SymbolRefresh(
                work.symbol, seen.price, seen.bars, bars_only=work.kind is Kind.BARS
            )
            verdicts[name] = Done(name, channel(work.symbol), event.model_dump_json())
        elif work.ticker not in answer.missing and answer.cut_short:
            verdicts[name] = GiveBack(name)
        else:
            verdicts[name] = after_missing(work, answer.missing.get(work.ticker), rules=rules)
    return Outcome(verdicts, rows)


def outcome_of_error(
    call: Call, error: MarketError, rules: RetryRules, *, took_ms: int, day_before: bool
) -> Outcome:
    """A call that failed as a whole. `day_before`: it asked for the day before the newest one."""
    verdicts = call.buried() | {
        work.item.symbol: after_error(
            work, error, feed=call.feed, rules=rules, shared=call.shared, day_before=day_before
        )
        for work in call.work
    }
    failed = provider_failed(error, took_ms)
    return Outcome(verdicts, answered=error.answered, sent=error.sent, failed=failed)
