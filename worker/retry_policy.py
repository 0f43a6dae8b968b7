"""What to do about an item when its refresh failed: pure rules, one place."""

from dataclasses import dataclass

from market.errors import (
    BadAnswer,
    BadRequest,
    InvalidTicker,
    MarketError,
    NotEntitled,
    NotFound,
    NotYetPublished,
    ProviderDown,
    RateLimited,
    SendDeadlinePassed,
    Unauthorized,
)
from market.feeds import Feed
from market.quotes import Missing
from queueing import Bury, Death, GiveBack, Item, Priority, Retry
from worker.work import Kind, Work

PUBLISHED_LATER_MS = 30 * 60 * 1000
NO_BARS_MS = 6 * 3600 * 1000
"""A day without bars (a holiday) is asked for again so much later: a few calls a day."""
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
    shared: bool = False,
    day_before: bool = False,
) -> Retry | GiveBack | Bury:
    """The reaction to an error of the whole call, which may have been `shared` with other items.
    `day_before`: it had asked for the day before the newest one.

    Waiting for quota, a plan's refusal and a call that was never sent are nobody's fault and
    count no attempt. Where the newest day is not published yet, the day before it has a price; bars
    have time. A 404 that is not final may only mean "unknown now", so it is tried again. A request
    that is refused as malformed is the fault of one item: each goes alone then.
    """
    item, text = work.item, str(error)
    match error:
        case NotEntitled() if feed.last_resort:  # nothing is left to ask: never in a circle
            return after_failure(item, text, rules=rules)
        case RateLimited() | Unauthorized() | NotEntitled() | SendDeadlinePassed():
            return GiveBack(item.symbol, error=text)
        case NotYetPublished() if work.kind is Kind.PRICE and not day_before:
            return GiveBack(item.symbol, error=text)
        case NotYetPublished():
            return GiveBack(item.symbol, delay_ms=PUBLISHED_LATER_MS, error=text)
        case BadRequest() if shared:
            return GiveBack(item.symbol, error=text, solo=True)
        case BadRequest() | InvalidTicker():
            return Bury(item.symbol, Death.INVALID, text)
        case NotFound() if feed.not_found_is_final and error.unknown_ticker:
            return Bury(item.symbol, Death.INVALID, text)
        case NotFound() if work.kind is Kind.BARS:
            return GiveBack(item.symbol, delay_ms=NO_BARS_MS, error=text)
        case NotFound():
            return after_failure(item, text, rules=rules, kind=Death.INVALID)
        case _:
            return after_failure(item, text, rules=rules)


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


def after_missing(
    work: Work, missing: Missing | None, *, rules: RetryRules
) -> Retry | GiveBack | Bury:
    """The reaction to a ticker without a usable price (or bars) in an answer that is good."""
    item = work.item
    reason = missing.reason if missing else "the answer does not mention it"
    if missing and missing.permanent:
        return Bury(item.symbol, Death.INVALID, reason)
    if work.kind is Kind.BARS:
        return GiveBack(item.symbol, delay_ms=NO_BARS_MS, error=reason)
    return after_failure(item, reason, rules=rules)


def after_failure(
    item: Item, error: str, *, rules: RetryRules, kind: Death = Death.TRANSIENT
) -> Retry | Bury:
    """Again at LOW after the delay, until the retries are spent."""
    if item.attempts >= rules.max_attempts:
        return Bury(item.symbol, kind, error)
    return Retry(item.symbol, rules.delay_ms, Priority.LOW, error)
