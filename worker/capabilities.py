"""What this API key may do, learned from the provider's answers and remembered for a while."""

from datetime import datetime

from market.feeds import Feed, bars_feed, feeds_for, price_feed
from market.freshness import day_before
from market.quotes import Delay
from market.tickers import market_of
from runtime.context import Context, fingerprint

REMEMBER_S = 24 * 3600
UNPUBLISHED_MS = 35 * 60 * 1000
"""How long a market's newest day is not asked for again once it was found not to be published.
A little more than a secondary round, so that the few critical assets find out when it is."""
_UNPUBLISHED = "unpublished:"


class Capabilities:
    """The feeds that this key may use. A refusal costs one call a day, not one per asset."""

    def __init__(self, context: Context) -> None:
        self._redis = context.redis
        feeds = feeds_for(context.settings.plan)
        self._feeds = feeds
        self.bars_feed = bars_feed(feeds)
        """The feed of five-minute bars."""
        self._key = context.keys.capabilities(fingerprint(context.settings.api_key))
        self._unpublished_until_ms: dict[str, int] = {}

    def refused(self) -> dict[str, str]:
        """feed → the provider's words."""
        found = {str(k): str(v) for k, v in self._redis.hgetall(self._key).items()}
        self._unpublished_until_ms = {
            name.removeprefix(_UNPUBLISHED): int(value)
            for name, value in found.items()
            if name.startswith(_UNPUBLISHED) and value.isdecimal()
        }
        return {k: v for k, v in found.items() if not k.startswith(_UNPUBLISHED)}

    def price_feed(self) -> Feed:
        """The best feed of prices that was not refused."""
        return price_feed(self.refused(), self._feeds)

    def gives_bars(self) -> bool:
        """False if the key may not even ask for bars."""
        return self.bars_feed.name not in self.refused()

    def seen_at(self, ticker: str, feed: Feed, now: datetime) -> datetime:
        """`now` for what this feed can give: while the newest completed day of a market is not
        published, it is still the day before. As it was known at the last look at `refused`."""
        until_ms = self._unpublished_until_ms.get(market_of(ticker), 0)
        if feed.delay is Delay.END_OF_DAY and now.timestamp() * 1000 < until_ms:
            return day_before(now)
        return now

    def unpublished(self) -> dict[str, int]:
        """Market → until when (ms) its newest day is not asked for, as of the last `refused`."""
        return dict(self._unpublished_until_ms)

    def not_published(self, ticker: str, now: datetime) -> None:
        """Remembers that the newest day of this ticker's market is still to come."""
        until_ms = int(now.timestamp() * 1000) + UNPUBLISHED_MS
        self._unpublished_until_ms[market_of(ticker)] = until_ms
        self._remember(f"{_UNPUBLISHED}{market_of(ticker)}", str(until_ms))

    def refuse(self, feed: str, message: str) -> None:
        """Remembers a refusal; after a day everything is tried again, as plans change."""
        self._remember(feed, message[:300])

    def _remember(self, name: str, what: str) -> None:
        pipe = self._redis.pipeline(transaction=True)  # never a key without its end
        pipe.hset(self._key, name, what)
        pipe.expire(self._key, REMEMBER_S, nx=True)
        pipe.execute()
