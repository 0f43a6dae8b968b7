"""The event that tells consumers of a refreshed asset: JSON on `asset:update:<SYMBOL>`."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, PlainSerializer

from market.quotes import Price
from queueing import Claimed, Item

CHANNEL = "asset:update:"

# JSON numbers: consumers of the platform read them as such. Up to 15 digits survive exactly.
Number = Annotated[Decimal, PlainSerializer(float, return_type=float, when_used="json")]


class AssetUpdated(BaseModel):
    """The user's fields first, then ours. Instants are ISO 8601 in UTC."""

    model_config = ConfigDict(frozen=True)

    symbol: str
    bid: Number | None
    ask: Number | None
    last_price: Number
    timestamp: datetime
    """When the market said so."""
    source: str
    """The feed that told it."""
    delay: str
    """real_time, delayed or end_of_day."""
    observed_at_ms: int
    """Redis time at which the call was granted."""
    priority: int
    waited_ms: int
    """From the request to the grant."""
    call_id: str
    """The call, as the log, `data_sources.api_calls` and the permits of the quota name it."""

    @classmethod
    def of(cls, symbol: str, item: Item, claimed: Claimed, price: Price) -> "AssetUpdated":
        """The event of one refreshed asset."""
        return cls(
            symbol=symbol,
            bid=price.bid,
            ask=price.ask,
            last_price=price.last,
            timestamp=price.as_of,
            source=price.source,
            delay=price.delay.value,
            observed_at_ms=claimed.granted_at_ms,
            priority=item.priority,
            waited_ms=max(0, claimed.granted_at_ms - item.enqueued_at_ms),
            call_id=claimed.token,
        )


def channel(symbol: str) -> str:
    """The channel of one asset."""
    return f"{CHANNEL}{symbol}"
