"""What the plan of this API key refuses, learned from the answers and remembered for a day."""

from market.feeds import Feed, choose_feed, feeds_for
from market.tiers import TIERS, Tier
from queueing import Item
from worker.context import Context, fingerprint

REMEMBER_S = 24 * 3600


class Plan:
    """The feeds that this key may use. A refusal costs one call a day, not one per asset."""

    def __init__(self, context: Context) -> None:
        self._redis = context.redis
        self._feeds = feeds_for(TIERS[Tier(context.settings.polygon_tier)])
        self._key = f"{context.keys.plan}:{fingerprint(context.settings.api_key)}"

    def refused(self) -> dict[str, str]:
        """feed → the provider's words."""
        return {str(k): str(v) for k, v in self._redis.hgetall(self._key).items()}

    def feed(self) -> Feed:
        """The best feed that was not refused."""
        return choose_feed(self.refused(), self._feeds)

    def gives_bars(self) -> bool:
        """False if the key may not even ask for bars."""
        return self._feeds[-1].name not in self.refused()

    def feed_for(self, item: Item, feed: Feed) -> Feed:
        """The feed of a claimed item: bars have one of their own."""
        return self._feeds[-1] if item.payload.get("bars") else feed

    def refuse(self, feed: str, message: str) -> None:
        """Remembers a refusal; after a day everything is tried again, as plans change."""
        pipe = self._redis.pipeline(transaction=True)  # never a key without its end
        pipe.hset(self._key, feed, message[:300])
        pipe.expire(self._key, REMEMBER_S, nx=True)
        pipe.execute()
