"""What one call learns for every worker: a block, a feed that the plan refuses, a day to come."""

from market.errors import (
    MarketError,
    NotEntitled,
    NoTrading,
    NotYetPublished,
    RateLimited,
    Unauthorized,
)
from runtime.context import Context, fingerprint
from worker.call import Call
from worker.capabilities import Capabilities

UNAUTHORIZED_BLOCK_MS = 15 * 60 * 1000


def tell_everybody(
    context: Context, capabilities: Capabilities, call: Call, error: MarketError
) -> None:
    """Writes it down before the items return, so that no other worker finds out at a call's cost.

    Raises RedisError.
    """
    block_all(context, error)
    match error:
        case NotEntitled():
            capabilities.refuse(call.feed.name, str(error))
        case NotYetPublished():
            capabilities.not_published(call.work[0].ticker, call.granted_at)
        case NoTrading():
            capabilities.no_trading(call.work[0].ticker, error.day)
    call.progress.told = True


def block_all(context: Context, error: MarketError) -> None:
    """Lets no call go for a while where the provider counts too many, or does not know the key."""
    match error:
        case RateLimited():
            window_ms = context.queue.policy.window_ms
            wait_ms = int((error.retry_after_s or 0) * 1000) or window_ms
            context.limiter.block(wait_ms, "429: the provider counts too many calls")
        case Unauthorized():
            context.limiter.block(UNAUTHORIZED_BLOCK_MS, unauthorized_reason(context))


def unauthorized_reason(context: Context) -> str:
    """Names the key by its fingerprint, so that a new key lifts the block of the old one."""
    return f"401: the provider does not know API key {fingerprint(context.settings.api_key)}"


def lift_block_of_another_key(context: Context) -> bool:
    """Lifts a block for an unknown API key if another key is set now. True: it did.

    Raises RedisError.
    """
    reason = context.limiter.status().blocked_reason or ""
    if not reason.startswith("401") or reason == unauthorized_reason(context):
        return False
    context.limiter.block(0, "a new API key", force=True)
    context.queue.wake()
    return True
