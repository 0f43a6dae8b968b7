"""What this API key may do, learned from the provider's answers and remembered for a while."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from pydantic import SecretStr

from market.coverage import PUBLISHED_BY
from market.feeds import Aggregates, Feed, bars_feed, feeds_for, price_feeds
from market.freshness import day_before, newest_allowed_day
from market.quotes import Delay
from market.tickers import asset_kind, market_of
from queueing.foreign import figure
from runtime.context import Context, fingerprint
from settings import Settings
from worker.work import Kind, Work

REMEMBER_S = 24 * 3600
UNPUBLISHED_MS = 35 * 60 * 1000
"""How long a market's newest day is not asked for again once it was found not to be published.
A little more than a secondary round, so that the few critical assets find out when it is."""
_UNPUBLISHED, _PUBLISHED, _NO_TRADING = "unpublished:", "published:", "no-trading:"
_ABSENT: Final = "absent:"
_FACTS: Final = (_UNPUBLISHED, _PUBLISHED, _NO_TRADING, _ABSENT)


@dataclass
class _Known:
    """What Redis remembers, as of the last look."""

    refused: dict[str, str] = field(default_factory=dict)
    unpublished_until_ms: dict[str, int] = field(default_factory=dict)
    published: dict[str, date] = field(default_factory=dict)
    no_trading: dict[str, date] = field(default_factory=dict)
    absent: set[tuple[str, str]] = field(default_factory=set)
    """Feed and ticker."""

    @classmethod
    def read(cls, raw: dict[str, str]) -> "_Known":
        """Reads the fields of the hash; one that says nothing sound is left out."""
        known = cls({k: v for k, v in raw.items() if not k.startswith(_FACTS)})
        for name, value in raw.items():
            kind, _, what = name.partition(":")
            match f"{kind}:":
                case "unpublished:" if until_ms := figure(value):
                    known.unpublished_until_ms[what] = until_ms
                case "published:" if day := _day(what.partition(":")[2]):
                    market = what.partition(":")[0]
                    known.published[market] = max(day, known.published.get(market, day))
                case "no-trading:" if day := _day(value):
                    known.no_trading[what] = day
                case "absent:":
                    feed, _, ticker = what.partition(":")
                    known.absent.add((feed, ticker))
        return known


@dataclass(frozen=True)
class Learned:
    """All that is remembered of a key, address and tier; instants in ms of Redis' clock.

    It is forgotten as a whole at `until_ms`, and asked anew; 0: nothing was learned yet.
    """

    refused: dict[str, str]
    """Feed → the provider's words."""
    unpublished_until_ms: dict[str, int]
    published: dict[str, date]
    no_trading: dict[str, date]
    """Market → its newest day that is published, and that was a holiday."""
    absent: frozenset[tuple[str, str]]
    """Feed and ticker that it does not have."""
    since_ms: int
    until_ms: int


def _day(text: str) -> date | None:
    """None for what was not written here."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _identity(settings: Settings) -> str:
    """What a lesson is about: this key, at this address, with this tier."""
    key = settings.api_key.get_secret_value() if settings.api_key else ""
    return fingerprint(SecretStr(f"{key} {settings.base_url} {settings.polygon_tier}"))


class Capabilities:
    """The feeds that this key may use. A refusal costs one call a day, not one per asset.

    Questions are answered as of the last look at Redis, which `refused` and `price_feed` take.
    """

    def __init__(self, context: Context) -> None:
        self._redis = context.redis
        self._feeds = feeds_for(context.settings.plan)
        self._bars_feed = bars_feed(self._feeds)
        self.key = context.keys.capabilities(_identity(context.settings))
        """In Redis."""
        self._known = _Known()

    def refused(self) -> dict[str, str]:
        """feed → the provider's words."""
        self._known = _Known.read(
            {str(k): str(v) for k, v in self._redis.hgetall(self.key).items()}
        )
        return self._known.refused

    def learned(self) -> Learned:
        """Look at Redis, and return everything for people to read."""
        self.refused()
        known, (seconds, micros) = self._known, self._redis.time()
        left_ms = self._redis.pttl(self.key)
        until_ms = int(seconds) * 1000 + int(micros) // 1000 + left_ms if left_ms > 0 else 0
        return Learned(
            dict(known.refused),
            dict(known.unpublished_until_ms),
            dict(known.published),
            dict(known.no_trading),
            frozenset(known.absent),
            since_ms=until_ms - REMEMBER_S * 1000 if until_ms else 0,
            until_ms=until_ms,
        )

    def forget(self) -> bool:
        """Forget what was learned, so that the next calls ask anew; False: there was nothing."""
        self._known = _Known()
        return bool(self._redis.delete(self.key))

    @property
    def feeds(self) -> tuple[Feed, ...]:
        """All feeds of this tier, the best first."""
        return self._feeds

    def price_feed(self) -> Feed:
        """The best feed for one price that was not refused."""
        self.refused()
        return self._price_feeds()[1]

    def most_tickers(self) -> int:
        """How many items a call for prices may take, as of the last look.

        A key that must ask for single tickers is taken at that also where nothing is known of
        whole markets: what a claim takes too much it has to give back.
        """
        largest, single = self._price_feeds()
        return largest.max_tickers if single.max_tickers > 1 else 1

    def _price_feeds(self) -> tuple[Feed, Feed]:
        """The best feed of those that are not refused, and the best for one price."""
        allowed = price_feeds(self._known.refused, self._feeds)
        return allowed[0], next(feed for feed in allowed if feed.worth_from == 1)

    def gives_bars(self) -> bool:
        """False if the key may not even ask for bars."""
        return self._bars_feed.name not in self.refused()

    @property
    def bars_feed(self) -> Aggregates:
        """The feed of five-minute bars."""
        return self._bars_feed

    def feed_for(self, work: Work, now: datetime, count: int = 1) -> Feed:
        """The feed that a call for this work uses, one of `count` items that are wanted at once."""
        if work.kind is Kind.BARS:
            return self._bars_feed
        return self.price_feed_for(work.ticker, now, count)

    def price_feed_for(self, ticker: str, now: datetime, count: int = 1) -> Feed:
        """The best feed that has the newest price of this ticker at `now`, one of `count`."""

        def has(feed: Feed) -> bool:
            if feed.worth_from > count or (feed.name, ticker) in self._known.absent:
                return False
            return feed.serves(ticker, self.seen_at(ticker, feed, now))

        allowed = price_feeds(self._known.refused, self._feeds)
        return next(feed for feed in allowed if feed.last_resort or has(feed))

    def seen_at(self, ticker: str, feed: Feed, now: datetime) -> datetime:
        """`now` for what this feed can give. On an end-of-day plan it is still the day before while
        the market's newest day is not published, or was a holiday."""
        if feed.delay is not Delay.END_OF_DAY:
            return now
        market = market_of(ticker)
        if now.timestamp() * 1000 < self._known.unpublished_until_ms.get(market, 0):
            now = day_before(now)
        closed = self._known.no_trading.get(market)
        if closed and newest_allowed_day(now, asset_kind(ticker)) == closed:
            return datetime.combine(closed, time(12), UTC)
        return now

    def unpublished(self) -> dict[str, int]:
        """Market → until when (ms) its newest day is not asked for, as of the last look."""
        return dict(self._known.unpublished_until_ms)

    def newest_bars_day(self, ticker: str, now: datetime) -> date:
        """The newest UTC day of which bars are worth a call.

        Where prices are those of a day as well, their call finds out whether it is published; until
        then the day before is the newest.
        """
        feed = self._bars_feed
        newest = feed.newest_day(ticker, self.seen_at(ticker, feed, now))
        if self.price_feed_for(ticker, now).delay is not Delay.END_OF_DAY:
            return newest
        published = self._known.published.get(market_of(ticker))
        if published is not None and published >= newest:
            return newest
        midnight = datetime.combine(newest, time.min, UTC)
        return newest_allowed_day(midnight, asset_kind(ticker))

    def ended_before(self, ticker: str, day: date, now: datetime) -> None:
        """A good answer that was to hold this day ends before it. If it is the market's newest, it
        is not published; hours later, or where others have it, it has no ticks of this asset."""
        published = self._known.published.get(market_of(ticker))
        if day != newest_allowed_day(now, asset_kind(ticker)) or (published and published >= day):
            return
        if now < datetime.combine(day, time.min, UTC) + timedelta(days=1) + PUBLISHED_BY:
            self.not_published(ticker, now)
        else:
            self.published(ticker, day)

    def not_published(self, ticker: str, now: datetime) -> None:
        """Remembers that the newest day of this ticker's market is still to come."""
        until_ms = int(now.timestamp() * 1000) + UNPUBLISHED_MS
        self._known.unpublished_until_ms[market_of(ticker)] = until_ms
        self._remember({f"{_UNPUBLISHED}{market_of(ticker)}": str(until_ms)})

    def published(self, ticker: str, day: date) -> None:
        """Remembers that this day of the ticker's market can be had.

        A field for each day, of which the newest counts: a worker whose call for older days lasts
        longer than another's for the newest one must not undo what that one learned.
        """
        market = market_of(ticker)
        if (known := self._known.published.get(market)) is None or known < day:
            self._known.published[market] = day
            self._remember({f"{_PUBLISHED}{market}:{day.isoformat()}": "1"})

    def no_trading(self, ticker: str, day: date) -> None:
        """Remembers that the ticker's market was closed on this day."""
        self._known.no_trading[market_of(ticker)] = day
        self._remember({f"{_NO_TRADING}{market_of(ticker)}": day.isoformat()})

    def absent(self, feed: str, tickers: list[str]) -> None:
        """Remembers that this feed does not have these tickers."""
        self._known.absent |= {(feed, ticker) for ticker in tickers}
        self._remember({f"{_ABSENT}{feed}:{ticker}": "1" for ticker in tickers})

    def refuse(self, feed: str, message: str) -> None:
        """Remembers a refusal; after a day everything is tried again, as plans change."""
        self._known.refused[feed] = message[:300]
        self._remember({feed: message[:300]})

    def _remember(self, facts: dict[str, str]) -> None:
        if not facts:
            return
        pipe = self._redis.pipeline(transaction=True)  # never a key without its end
        for name, value in facts.items():
            pipe.hset(self.key, name, value)
        pipe.expire(self.key, REMEMBER_S, nx=True)
        pipe.execute()
