"""What a forecast reckons from, read from Redis in a constant number of commands."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from health.causes import Cause
from health.facts import Facts
from health.next_call import stopping
from health.order import Share
from market.feeds import Feed
from queueing import Item, Policy, QuotaStatus
from queueing.foreign import json_object
from runtime.context import Context
from worker.capabilities import Capabilities
from worker.drain import SLOW_S
from worker.selection import utc_from_ms
from worker.work import Work, parse

_EVENTS = 200
"""The newest events that are looked at for whose a permit is."""


@dataclass(frozen=True)
class Outlook:
    """What a forecast reckons from, beside the items."""

    quota: QuotaStatus
    policy: Policy
    share_of: Callable[[Item], Share] = lambda item: Share()
    """Costs little: it is asked once per item."""
    batch_share: Share = field(default_factory=Share)
    """With which items the next batch shares its calls; `most` is what a claim takes."""
    owners: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Call id → symbols."""
    at_once: int = 1
    """Calls that are made at the same time, where enough are free."""
    stopped: Cause | None = None
    """Why no call is made at all."""

    @classmethod
    def read(cls, context: Context, facts: Facts) -> "Outlook":
        """Read it as of now; `facts` tells what stops all calls. Raises RedisError."""
        quota = context.limiter.status()
        capabilities = Capabilities(context)
        most = capabilities.price_feed().max_tickers
        return cls(
            quota,
            context.queue.policy,
            share_of=_shares(capabilities, quota.now_ms),
            batch_share=Share(_key(capabilities.price_feed(), ""), most),
            owners=_owners(context),
            at_once=_at_once(facts, quota),
            stopped=stopping(facts),
        )


def _at_once(facts: Facts, quota: QuotaStatus) -> int:
    """One drain makes quick calls alone, and asks for help with slow ones."""
    if facts.state is None or quota.answer_ms <= SLOW_S * 1000:
        return 1
    alive = [one for one in facts.state.processes if one.role == "worker" and one.alive]
    return max(1, len(alive))


def _shares(capabilities: Capabilities, now_ms: int) -> Callable[[Item], Share]:
    """What the worker would ask for each item, and of which others the same call can tell."""
    now = utc_from_ms(now_ms)

    def share_of(item: Item) -> Share:
        work = parse(item)
        if not isinstance(work, Work):
            return Share()
        feed = capabilities.feed_for(work, now)
        return Share(_key(feed, feed.together(work.ticker)), feed.max_tickers)

    return share_of


def _key(feed: Feed, together: str) -> str:
    return f"{feed.name} {together}".rstrip()


def _owners(context: Context) -> dict[str, tuple[str, ...]]:
    """Call id → symbols, of the calls that the newest events tell of."""
    owners: dict[str, tuple[str, ...]] = {}
    rows: Any = context.redis.xrevrange(context.keys.updates, count=_EVENTS)
    for _, fields in rows:
        event = json_object(fields.get("event"))
        call_id, symbol = event.get("call_id"), event.get("symbol")
        if isinstance(call_id, str) and isinstance(symbol, str):
            owners[call_id] = (*owners.get(call_id, ()), symbol)
    return owners
