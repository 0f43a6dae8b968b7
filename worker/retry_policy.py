"""What to do when a call fails, by what it is that failed: pure rules, one page.

| failed | told by | its items | everybody else |
|---|---|---|---|
| this item | 400, 404, no price, refused by a table | attempts, then a dead letter | go on |
| this item | a price that nothing supports | attempts; the next answer decides | go on |
| this item or the provider | 5xx, time-out, garbage | alone: attempts; shared: split | breaker |
| its market | not published yet, a holiday | the day before, or later; no attempt | market waits |
| its feed | not in the plan | the next feed at once; no attempt | feed is skipped |
| the provider | 429, 401 | return unchanged; no attempt | everybody waits |
| its row | another session holds it | attempts | go on |
| the database | lost, read-only, full, no rights | return unchanged; no attempt | everybody waits |
| this program | any other exception | alone: attempts; shared: split | go on |

Waiting for quota, a plan's refusal and a call that was never sent are no fault of an item. A
failure of a shared call says nothing about any one of its items: they are split until one of them
fails alone, and none is charged with an attempt before.
"""

from dataclasses import dataclass

from market.errors import (
    BadAnswer,
    BadRequest,
    InvalidTicker,
    MarketError,
    NotEntitled,
    NotFound,
    NoTrading,
    NotYetPublished,
    ProviderDown,
    RateLimited,
    SendDeadlinePassed,
    Unauthorized,
)
from market.feeds import Feed
from market.quotes import Missing
from queueing import Bury, Death, Done, GiveBack, Item, Priority, Retry
from worker.work import Kind, Work

Failure = Retry | GiveBack | Bury
"""How an item ends that was not refreshed."""

PUBLISHED_LATER_MS = 30 * 60 * 1000
NO_BARS_MS = 6 * 3600 * 1000
"""The pause after a day without bars (a holiday): a few calls a day find out."""
CONNECT_SLOW_MS = 1_000


@dataclass(frozen=True)
class RetryRules:
    """How often and how soon a failed item is tried again."""

    max_attempts: int = 3
    delay_ms: int = 60_000


def after_error(
    work: Work,
    error: MarketError,
    *,
    feed: Feed,
    rules: RetryRules,
    day_before: bool = False,
) -> Failure:
    """The end of an item whose call failed as a whole, and whose failure it may be.

    `day_before`: the call had asked for the day before the newest one. While the newest day is not
    published the day before it has a price; bars have time.
    """
    item, text = work.item, str(error)
    match error:
        case NotEntitled() if feed.last_resort:  # nothing is left to ask: never in a circle
            return after_failure(item, text, rules=rules)
        case NotEntitled():  # what the plan gives was learned, and the item is to blame for nothing
            return GiveBack(item.symbol)
        case RateLimited() | Unauthorized() | SendDeadlinePassed():
            return GiveBack(item.symbol, error=text)
        case NotYetPublished() if work.kind is Kind.PRICE and not day_before:
            return GiveBack(item.symbol, error=text)
        case NotYetPublished():
            return GiveBack(item.symbol, delay_ms=PUBLISHED_LATER_MS, error=text)
        case NoTrading():  # the day before it is the newest
            return GiveBack(item.symbol, error=text)
        case BadRequest() | InvalidTicker():
            return Bury(item.symbol, Death.INVALID, text)
        case NotFound() if feed.not_found_is_final and error.unknown_ticker:
            return Bury(item.symbol, Death.INVALID, text)
        case NotFound() if work.kind is Kind.BARS:
            return GiveBack(item.symbol, delay_ms=NO_BARS_MS, error=text)
        case NotFound():  # a snapshot may only mean "unknown now"
            return after_failure(item, text, rules=rules, kind=Death.INVALID)
        case _:
            return after_failure(item, text, rules=rules)


def is_of_all(error: MarketError) -> bool:
    """True if the error concerns every item of a shared call alike; False if it may be the fault of
    one of them, so that they are split."""
    shared = (NotEntitled, NotYetPublished, NoTrading, RateLimited, Unauthorized)
    return isinstance(error, (*shared, SendDeadlinePassed))


def defect(error: BaseException) -> str:
    """How a failure of this program is told."""
    return f"internal error: {type(error).__name__}: {error}"


def after_missing(work: Work, missing: Missing | None, *, rules: RetryRules) -> Failure | Done:
    """The end of an item without a usable price (or bars) in an answer that is good. Days without
    bars are knowledge: their coverage says when to look again."""
    item = work.item
    reason = missing.reason if missing else "the answer does not mention it"
    if missing and missing.permanent:
        return Bury(item.symbol, Death.INVALID, reason)
    if missing and missing.elsewhere:  # the next feed may have it
        return GiveBack(item.symbol, error=None if missing.not_entitled else reason)
    if work.kind is Kind.BARS:
        return Done(item.symbol)
    return after_failure(item, reason, rules=rules)


def after_refusal(item: Item, reason: str, *, busy: bool, rules: RetryRules) -> Failure:
    """The end of an item that PostgreSQL did not store while it stored others. `busy`: another
    session holds its row, so that trying again may succeed."""
    if busy:
        return after_failure(item, reason, rules=rules)
    return Bury(item.symbol, Death.INVALID, reason)


def after_failure(
    item: Item, error: str, *, rules: RetryRules, kind: Death = Death.TRANSIENT
) -> Retry | Bury:
    """Again at LOW or below after the delay, until the retries are spent."""
    if item.attempts >= rules.max_attempts:
        return Bury(item.symbol, kind, error)
    return Retry(item.symbol, rules.delay_ms, max(Priority.LOW, item.priority), error)


def provider_failed(error: MarketError, took_ms: int) -> bool | None:
    """For the breaker: True if the provider is away, slow or talks nonsense, False if it answered
    sensibly (refusals included), None if the call says nothing about it.

    A call that passed its send deadline while it tried to connect was kept waiting by the provider;
    one that had passed it before was late because of us.
    """
    match error:
        case ProviderDown() | BadAnswer():
            return True
        case SendDeadlinePassed():
            return True if took_ms >= CONNECT_SLOW_MS else None
        case InvalidTicker():
            return None
        case _:
            return False
