"""One granted call: what it asks for, and what becomes of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from typing import Self

from db.rows import SymbolRefresh
from market.errors import MarketError
from market.feeds import Feed
from market.transport import SendDeadline
from queueing import Again, Bury, Claimed, Death, Done, GiveBack, Verdict
from worker.selection import utc_from_ms
from worker.work import Malformed, Work, is_bars, parse


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
    told_by: Claimed | None = None
    """The call whose answer is used, where nothing was sent as an answer was at hand."""
    day_before: bool = False
    """It asked for the day before the newest one."""
    told: bool = False
    """What concerns every worker is told."""
    outcome: Outcome | None = None
    """What is stored, or need not be."""
    ended: bool = False
    next_call: "Call | None" = None
    """Claimed in the step that ended this one."""
    unendable: bool = False
    """Redis did not take the end in time: the lease runs out."""


@dataclass(frozen=True)
class Asked:
    """A claim that is about to be made, and what the call that it is granted will need."""

    price_feed: Feed
    deadline: SendDeadline
    """Counted from before the grant, so that it ends before the quota's own reckoning does."""
    max_items: int
    max_wait_ms: int


@dataclass(frozen=True)
class Call:
    """The call that a claim paid for, and the work that it is to do."""

    claimed: Claimed
    price_feed: Feed
    feed_of: Callable[[Work, datetime, int], Feed]
    """The feed that has what is asked for, at an instant, as one of a number of items."""
    deadline: SendDeadline
    drain: str
    max_wait_ms: int
    """How long the drain would wait after this call."""
    then: Callable[[], Asked | None] = lambda: None
    """What the drain claims in the step that ends this call; None: it is about to end itself."""
    progress: Progress = field(default_factory=Progress)

    def next(self, claimed: Claimed, asked: Asked) -> Self:
        """The call that was claimed in the step that ended this one."""
        return replace(
            self,
            claimed=claimed,
            price_feed=asked.price_feed,
            deadline=asked.deadline,
            max_wait_ms=asked.max_wait_ms,
            progress=Progress(),
        )

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
        return self._feed_of(first) if first else self.price_feed

    def _feed_of(self, work: Work) -> Feed:
        return self.feed_of(work, self.granted_at, len(self._sound))

    @cached_property
    def work(self) -> tuple[Work, ...]:
        """The items that are asked for, parsed once."""
        mine = [work for work in self._sound if self._feed_of(work) is self.feed]
        return tuple(mine[: self.feed.max_tickers])

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
    def told_by(self) -> Claimed:
        """The granted call that brought the answer: this one, or an earlier one."""
        return self.progress.told_by or self.claimed

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
